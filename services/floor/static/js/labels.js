/**
 * What the shop's steps are called, for people. Steps of other sagas get names made from their own.
 *
 * column: the heading; does, undoes: what it does, and how it is taken back; running, undoing: while it does so;
 * stands: what is there when it has happened.
 * @typedef {{column: string, does: string, undoes: string, running: string, undoing: string, stands: string}} Label
 */

/** @type {Record<string, Label>} */
const STEPS = {
  "call:CreateOrder": {
    column: "Order",
    does: "Place the order",
    undoes: "Cancel the order",
    running: "Placing the order",
    undoing: "cancelling the order",
    stands: "The order",
  },
  "call:PlaceOrder": {
    column: "Order",
    does: "Place the order",
    undoes: "Cancel the order",
    running: "Placing the order",
    undoing: "cancelling the order",
    stands: "The order",
  },
  "call:ReserveDishes": {
    column: "Stock",
    does: "Reserve dishes",
    undoes: "Put dishes back",
    running: "Reserving dishes",
    undoing: "putting the dishes back",
    stands: "The dishes",
  },
  "call:ReserveStock": {
    column: "Stock",
    does: "Reserve goods",
    undoes: "Put goods back",
    running: "Reserving goods",
    undoing: "putting the goods back",
    stands: "The goods",
  },
  "call:RequestPayment": {
    column: "Charge",
    does: "Request payment",
    undoes: "Take the payment back",
    running: "Asking for payment",
    undoing: "returning the money",
    stands: "The payment",
  },
  "call:ChargeCard": {
    column: "Charge",
    does: "Charge the card",
    undoes: "Refund the card",
    running: "Charging",
    undoing: "refunding",
    stands: "The charge",
  },
  "receive:PaymentSettled | PaymentRefused": {
    column: "Payment",
    does: "Wait for payment",
    undoes: "",
    running: "Waiting for payment",
    undoing: "",
    stands: "The answer",
  },
  "call:MarkPaid": {
    column: "Paid",
    does: "Mark as paid",
    undoes: "Mark as unpaid",
    running: "Marking it as paid",
    undoing: "marking it as unpaid",
    stands: "The mark “paid”",
  },
  "call:MarkDelivered": {
    column: "Brought",
    does: "Mark as brought",
    undoes: "",
    running: "Marking as brought",
    undoing: "",
    stands: "The delivery",
  },
  "child:dispatch": {
    column: "Courier",
    does: "Send it out",
    undoes: "Call it back",
    running: "Sending it out",
    undoing: "calling it back",
    stands: "The delivery",
  },
  "call:PrintLabel": {
    column: "Label",
    does: "Print the label",
    undoes: "Void the label",
    running: "Printing the label",
    undoing: "voiding the label",
    stands: "The label",
  },
  "call:BookCourier": {
    column: "Courier",
    does: "Book a courier",
    undoes: "Call the courier off",
    running: "Booking a courier",
    undoing: "calling the courier off",
    stands: "The courier",
  },
  "call:PackParcel": {
    column: "Parcel",
    does: "Pack the parcel",
    undoes: "Unpack the parcel",
    running: "Packing",
    undoing: "unpacking",
    stands: "The parcel",
  },
  "call:Dispatch": {
    column: "Courier",
    does: "Send it out",
    undoes: "Call it back",
    running: "Sending it out",
    undoing: "calling it back",
    stands: "The delivery",
  },
};

/** Why sagas of the shop end early, by the name of the error. */
const REASONS = {
  OutOfStock: "out of stock",
  SoldOut: "out of stock",
  PaymentRefused: "payment refused",
  CardDeclined: "card declined",
  ShippingRefused: "nobody ships it there",
  OrderNotOpen: "the order is no longer open",
  RefundRefused: "the refund was refused",
  TimedOut: "no answer in time",
  TimeoutError: "no answer in time",
  CancelledError: "cancelled",
  Cancelled: "cancelled",
  NoCourier: "no courier found",
  NonDeterminismError: "the code no longer matches its journal",
  Mismatch: "the code no longer matches its journal",
};

/**
 * What is known of a type before its first run: the order of its steps, and where the way back ends.
 * @type {Record<string, {keys: string[], pivotAfter: string}>}
 */
export const DECLARED = {
  delivery: {
    keys: [
      "call:PlaceOrder",
      "call:ReserveDishes",
      "call:RequestPayment",
      "receive:PaymentSettled | PaymentRefused",
      "call:MarkPaid",
      "child:dispatch",
      "call:MarkDelivered",
    ],
    pivotAfter: "call:MarkPaid",
  },
  dispatch: { keys: ["call:PrintLabel", "call:BookCourier"], pivotAfter: "" },
  checkout: {
    keys: ["call:CreateOrder", "call:ReserveStock", "call:ChargeCard", "call:PackParcel", "call:Dispatch"],
    pivotAfter: "call:Dispatch",
  },
};

/**
 * @param {string} key `kind:name`, perhaps with `#2` for its second time
 * @returns {Label}
 */
export function labelOf(key) {
  const [base, again] = key.split("#");
  const known = STEPS[base];
  if (known) return again ? { ...known, column: `${known.column} ${again}` } : known;
  const [kind, ...rest] = base.split(":");
  const words = kind === "sleep" ? "sleep" : humanised(rest.join(":"));
  const name = again ? `${words} ${again}` : words;
  const capital = name.charAt(0).toUpperCase() + name.slice(1);
  if (kind === "receive") {
    return {
      column: capital,
      does: `Wait for ${name}`,
      undoes: "",
      running: `Waiting for ${name}`,
      undoing: "",
      stands: capital,
    };
  }
  if (kind === "sleep")
    return { column: "Wait", does: "Wait", undoes: "", running: "Waiting", undoing: "", stands: "The wait" };
  return {
    column: capital,
    does: capital,
    undoes: `Undo: ${name}`,
    running: capital,
    undoing: `undoing ${name}`,
    stands: capital,
  };
}

/**
 * ChargeCard: charge card. PaymentSettled | PaymentRefused: payment settled or payment refused.
 * @param {string} name
 */
export function humanised(name) {
  return name
    .split(" | ")
    .map((one) =>
      one
        .replace(/[_.-]+/g, " ")
        .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
        .toLowerCase()
        .trim(),
    )
    .join(" or ");
}

/**
 * A short reason, from an error such as `OutOfStock(sku='tea', left=0)`.
 * @param {string | null} error
 */
export function reasonOf(error) {
  if (!error) return "";
  const name = /^[\w.]+/.exec(error)?.[0].split(".").at(-1) ?? "";
  if (name === "NotPaid") return /nobody paid/.test(error) ? "not paid in time" : "payment refused";
  if (name in REASONS) return REASONS[/** @type {keyof typeof REASONS} */ (name)];
  return /^(?:\w+\.)*[A-Z]\w*(\(|:|$)/.test(error) ? humanised(name) : error;
}

/** @param {number} count */
export function dishes(count) {
  return `${count} ${count === 1 ? "dish" : "dishes"}`;
}
