/**
 * What is said of each moment, in one sentence for a person. No word here that only we would know.
 */

import { dishes, labelOf, reasonOf } from "./labels.js";
import { CURRENCY, isZero, shown } from "./money.js";
import { isPayment, refundWords } from "./stakes.js";
import { isWait } from "./columns.js";
import { lower, workerName } from "./words.js";

/** @typedef {import("./telling.js").Event} Event */
/** @typedef {import("./laying.js").Laid} Laid */
/** @typedef {import("./shapes.js").Book} Book */

/** @type {Record<string, {begun?: (book: Book | undefined) => string, ended?: (book: Book | undefined) => string, undone?: (book: Book | undefined) => string}>} */
const SAID = {
  PlaceOrder: { begun: (book) => `The order is written down${worth(book)}.`, undone: () => "The order is cancelled." },
  CreateOrder: { begun: (book) => `The order is written down${worth(book)}.`, undone: () => "The order is cancelled." },
  ReserveDishes: {
    begun: (book) => `${count(book, "dishes")} set aside in the kitchen.`,
    undone: (book) => `${count(book, "dishes")} free again for others.`,
  },
  ReserveStock: { begun: () => "The goods are set aside.", undone: () => "The goods are back on the shelf." },
  RequestPayment: { begun: () => "The customer is asked to pay.", undone: (book) => moneyBack(book) },
  ChargeCard: { begun: (book) => `The card is being charged${worth(book)}.`, undone: (book) => moneyBack(book) },
  "PaymentSettled | PaymentRefused": {
    begun: () => "Now it waits for the money. Nothing runs meanwhile; it is a row in a table.",
    ended: () => "The money is there.",
  },
  MarkPaid: {
    ended: () => "The order is paid. From here on there is no way back, only forward.",
    undone: () => "The order no longer counts as paid.",
  },
  PrintLabel: { begun: () => "The label is printed." },
  BookCourier: { begun: () => "A courier is called." },
  MarkDelivered: { begun: () => "The courier has it." },
  PackParcel: { begun: () => "The parcel is packed.", undone: () => "The parcel is unpacked." },
  Dispatch: { begun: () => "It is sent out.", undone: () => "It is called back." },
};

const COULD_NOT = "It could not go on";

const WHY = {
  "payment refused": "The payment was refused",
  "out of stock": "A dish was sold out",
  "not paid in time": "Nobody paid in time",
  "card declined": "The card was declined",
  "no answer in time": "No answer came in time",
  "no courier found": "No courier was found",
  cancelled: "It was cancelled",
  "nobody ships it there": "Nobody ships it there",
};

/**
 * @param {Event} event
 * @param {Laid} laid
 * @param {Book | undefined} book
 */
export function sentences(event, laid, book) {
  const said = event.cell ? SAID[event.cell.op.name] : undefined;
  const label = event.cell ? labelOf(event.cell.key) : null;
  switch (event.kind) {
    case "start":
      return started(laid, book);
    case "begun":
      return said ? (said.begun?.(book) ?? "") : `${label?.does}.`;
    case "lost":
      return "No answer comes. Did it happen? Nobody knows, so nobody guesses.";
    case "found":
      return "It asks again, under the same key: yes, it happened, and only once.";
    case "ended":
      return event.cell === laid.cause ? "" : (said?.ended?.(book) ?? "");
    case "failed":
      return "";
    case "seam":
      return `The process that ran this saga is gone. ${workerName(event.worker ?? "")} goes on at the same place; nothing is begun again.`;
    case "fold":
      return turned(event, laid);
    case "undoBegun":
      return undoing(event, book);
    case "undoEnded":
      return said?.undone?.(book) ?? `Taken back: ${lower(label?.does ?? "")}.`;
    case "undoFailed":
      return `That was refused${event.note ? `: ${reasonOf(event.note)}` : ""}. The way back stops here; a person must decide.`;
    default:
      return last(laid, book);
  }
}

/** The one sentence over the page. @param {Laid} laid @param {Book | undefined} book */
export function headline(laid, book) {
  const why = whyOf(laid.outline.error) || COULD_NOT;
  switch (laid.status) {
    case "completed":
      return book && !isZero(book.gateway.taken)
        ? `Everything was done. ${CURRENCY} ${shown(book.gateway.taken)} was taken once, and delivered for.`
        : "Everything was done.";
    case "failed":
    case "cancelled":
      return `${laid.status === "cancelled" ? "It was cancelled" : why}${ending(laid, book)}`;
    case "compensating":
      return `${whyOf(laid.outline.undone_because) || COULD_NOT}. What was done is being taken back, the newest first.`;
    case "stuck":
      return "It is stuck, and waits for a person. Nothing is lost: it stands where it stopped.";
    case "blocked":
      return "It waits: the code no longer matches what was done so far.";
    case "terminated":
      return "It was ended by a person, as it stood. Nothing was taken back.";
    case "queued":
      return "It has not begun yet.";
    default:
      return runningNow(laid);
  }
}

/** Why it ended, as a sentence without its stop. @param {string | null} error */
function whyOf(error) {
  const reason = reasonOf(error);
  return WHY[/** @type {keyof typeof WHY} */ (reason)] ?? capital(reason);
}

/** @param {Laid} laid @param {Book | undefined} book */
function ending(laid, book) {
  const touched = laid.cells.some(({ op }) => op.undo !== null);
  if (!touched) return ". Nothing had been done yet, so there was nothing to take back.";
  if (!laid.allBack) return ", and something was left as it is. It is listed below.";
  return `, so everything was taken back. ${moneyStory(book)}`;
}

/** @param {Book | undefined} book */
function moneyStory(book) {
  if (!book) return "";
  if (isZero(book.gateway.taken)) return "Nothing was charged.";
  return book.gateway.taken === book.gateway.back
    ? "The card was charged once and refunded once."
    : `${CURRENCY} ${shown(book.open)} is still open.`;
}

/** @param {Laid} laid */
function runningNow(laid) {
  const open = laid.cells.findLast(({ shape }) => shape === "growing" || shape === "waiting" || shape === "asking");
  if (!open) return "It is running.";
  if (open.shape === "asking") return "An answer was lost. It is being looked up, because nobody guesses about money.";
  if (open.shape === "waiting") return `${labelOf(open.key).running}. Nothing runs meanwhile.`;
  return `${labelOf(open.key).running} now.`;
}

/** @param {Laid} laid @param {Book | undefined} book */
function started(laid, book) {
  const steps = laid.columns.length;
  if (!book) return `It begins. ${steps} steps will follow, each with its way back.`;
  return `An order${book.dishes ? ` for ${dishes(book.dishes)}` : ""}, by ${book.customer || "a customer"}. Step by step, each with its way back.`;
}

/** @param {Event} event @param {Laid} laid */
function turned(event, laid) {
  const why = laid.ended ? whyOf(laid.outline.error) : ""; // Of a saga that is stuck it says why that is.
  if (why) return `${why}. It cannot go on, so the ribbon turns over.`;
  const { cell } = event;
  if (cell && isWait(cell.op)) return "The answer was no. It cannot go on, so the ribbon turns over.";
  return "It cannot go on, so the ribbon turns over.";
}

/** @param {Event} event @param {Book | undefined} book */
function undoing(event, book) {
  const key = event.cell?.key ?? "";
  const what = isPayment(key) ? refundWords(book) : labelOf(key).undoes;
  const again = (event.attempts ?? 1) > 1 ? " It takes more than one try, under the same key." : "";
  return `Newest first: ${lower(what)}.${again}`;
}

/** @param {Laid} laid @param {Book | undefined} book */
function last(laid, book) {
  if (laid.status === "completed") return "Everything was done, and the books are closed.";
  if (laid.status === "terminated") return "A person ended it as it stood.";
  if (laid.status === "stuck") return "Here it stands until a person decides. Nothing is lost.";
  if (laid.cells.some(({ shape }) => shape === "waiting"))
    return "Nothing runs now. It is a row in a table, and would outlive every process here.";
  if (!laid.ended) return headline(laid, book);
  if (!laid.cells.some(({ op }) => op.undo !== null)) return "Nothing had been done, so nothing had to be taken back.";
  if (!laid.allBack) return "It ended, and what was left is listed.";
  return "Everything that was done has been taken back, and every book is at zero.";
}

/** @param {Book | undefined} book */
function moneyBack(book) {
  if (!book || isZero(book.gateway.back)) return "The payment is void. Nothing was taken.";
  return `${CURRENCY} ${shown(book.gateway.back)} is back with the customer.`;
}

/** @param {Book | undefined} book */
function worth(book) {
  return book && !isZero(book.order.owed) ? `: ${CURRENCY} ${shown(book.order.owed)}` : "";
}

/** @param {Book | undefined} book @param {string} word */
function count(book, word) {
  if (!book?.dishes) return `The ${word} are`;
  return book.dishes === 1 ? "One dish is" : `${book.dishes} dishes are`;
}

/** @param {string} text */
function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
