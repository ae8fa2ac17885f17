/**
 * The books of one order: accounts with two pages, do on the left, undo on the right, closed by a double rule.
 *
 * They are what the services' own tables and the gateway's own book say, never what the journal says.
 */

import { h } from "./dom.js";
import { CURRENCY, amount, cents, isZero, shown } from "./money.js";
import { isPayment } from "./stakes.js";

/** @typedef {import("./shapes.js").Book} Book */
/** @typedef {import("./laying.js").Laid} Laid */
/** @typedef {import("./telling.js").Tale} Tale */
/** @typedef {import("./player.js").Part} Part */
/** @typedef {{name: string, unit: string, out: string, outFigure: string, outT: number, back: string, backFigure: string, backT: number, left: string, leftFigure: string, refs: string[], isUnknown: boolean, isClosed: boolean}} Account */

/**
 * @param {Laid} laid
 * @param {Book | undefined} book
 * @param {Tale} tale
 * @returns {{content: HTMLElement[], parts: Part[]}}
 */
export function books(laid, book, tale) {
  /** @type {Part[]} */
  const parts = [];
  if (!book)
    return {
      content: [
        h(
          "p",
          { class: "dim" },
          laid.outline.parent_id
            ? "The books stand with the order that this belongs to."
            : "No order in the shop’s books has this id.",
        ),
      ],
      parts,
    };
  const verdict = h("p", { class: "verdict" }, verdictOf(laid, book));
  parts.push({ el: verdict, show: Math.max(0, tale.end - 0.7) });
  return { content: [...accounts(laid, book, tale).map((account) => table(account, tale, parts)), verdict], parts };
}

/** @param {Laid} laid @param {Book} book @param {Tale} tale @returns {Account[]} */
function accounts(laid, book, tale) {
  const at = (/** @type {RegExp} */ key) =>
    tale.times.get(laid.cells.find((cell) => key.test(cell.key))?.path ?? "") ?? {};
  const paying = laid.cells.find((cell) => isPayment(cell.key));
  const payment = tale.times.get(paying?.path ?? "") ?? {};
  const settled = laid.cells.find((cell) => cell.op.kind === "receive" && cell !== laid.cause);
  const takenT = (settled && tale.times.get(settled.path)?.ended) ?? payment.ended ?? 0;
  const order = at(/:(PlaceOrder|CreateOrder)$/);
  const stock = at(/:Reserve/);
  const isDone = laid.status === "completed";
  const money = cents(book.gateway.taken) - cents(book.gateway.back);
  const owed = cents(book.order.owed) - cents(book.order.cancelled);
  const goods = book.stock.out - book.stock.back;
  const common = { refs: /** @type {string[]} */ ([]), isUnknown: false };
  const left = isDone ? "kept, delivered" : laid.ended ? "left over" : "so far";
  return [
    {
      ...common,
      name: "The gateway’s book",
      unit: CURRENCY,
      out: "charge",
      outFigure: figure(book.gateway.taken, book.unknown),
      outT: takenT,
      back: "refund",
      backFigure: figure(book.gateway.back),
      backT: payment.undoEnded ?? 0,
      left,
      leftFigure: `${amount(money)}${book.unknown ? " ?" : ""}`,
      refs: book.gateway.refs,
      isUnknown: book.unknown,
      isClosed: laid.ended && (isDone || money === 0n),
    },
    {
      ...common,
      name: "Orders",
      unit: CURRENCY,
      out: "owed",
      outFigure: figure(book.order.owed),
      outT: order.ended ?? 0,
      back: "cancelled",
      backFigure: figure(book.order.cancelled),
      backT: order.undoEnded ?? 0,
      left,
      leftFigure: amount(owed),
      isClosed: laid.ended && (isDone || owed === 0n),
    },
    {
      ...common,
      name: "Stock",
      unit: "dishes",
      out: "off the shelf",
      outFigure: book.stock.out ? String(book.stock.out) : "",
      outT: stock.ended ?? 0,
      back: "put back",
      backFigure: book.stock.back ? String(book.stock.back) : "",
      backT: stock.undoEnded ?? 0,
      left,
      leftFigure: String(goods),
      isClosed: laid.ended && (isDone || goods === 0),
    },
  ];
}

/** @param {Account} account @param {Tale} tale @param {Part[]} parts */
function table(account, tale, parts) {
  const out = side(account.out, account.outFigure, account.refs[0], "", account.outT, parts);
  const back = side(account.back, account.backFigure, account.refs[1], "back", account.backT, parts);
  const left = h("span", {}, account.leftFigure);
  const zero = account.unit === CURRENCY ? "0.00" : "0";
  parts.push({
    el: left,
    says: leftSays(account, zero),
    ...(account.isClosed ? { closed: Math.max(account.outT, account.backT, tale.end - 0.9) } : {}),
  });
  return h(
    "table",
    { class: "tee" },
    h("caption", {}, account.name, h("span", {}, account.unit)),
    h(
      "tbody",
      {},
      h("tr", {}, out, back),
      h("tr", { class: "left" }, h("td", {}, account.left), h("td", { class: "num", colspan: "3" }, left)),
    ),
  );
}

/** @param {Account} account @param {string} zero @returns {[number, string][]} */
function leftSays(account, zero) {
  if (account.isUnknown)
    return [
      [0, zero],
      [account.outT, `${zero} or more`],
    ];
  /** @type {[number, string][]} */
  const says = [[0, zero]];
  if (account.outFigure) says.push([account.outT, account.backFigure ? account.outFigure : account.leftFigure]);
  if (account.backFigure) says.push([account.backT, account.leftFigure]);
  return says;
}

/** @param {string} name @param {string} figure @param {string | undefined} ref @param {string} className @param {number} t @param {Part[]} parts */
function side(name, figure, ref, className, t, parts) {
  const label = h(
    "td",
    { class: className ? `dbl ${className}` : false },
    name,
    ref && figure ? h("span", { class: "ref" }, short(ref)) : null,
  );
  const number = h("td", { class: `num ${className}` }, figure || "–");
  if (!figure) {
    label.classList.add("is-none");
    number.classList.add("is-none");
  } else for (const el of [label, number]) parts.push({ el, show: t });
  return [label, number];
}

/** @param {string} text @param {boolean} [isUnknown] */
function figure(text, isUnknown = false) {
  return isZero(text) ? (isUnknown ? "?" : "") : `${shown(text)}${isUnknown ? " ?" : ""}`;
}

/** @param {string} ref */
function short(ref) {
  return ref.length > 9 ? `${ref.slice(0, 4)}…${ref.slice(-4)}` : ref;
}

/** @param {Laid} laid @param {Book} book */
function verdictOf(laid, book) {
  if (laid.status === "completed") return "Paid once, delivered once. These books are closed.";
  if (!laid.ended)
    return laid.status === "stuck"
      ? "Open, until a person decides."
      : "Still open: the books close when the saga ends.";
  if (
    isZero(book.open) &&
    book.gateway.taken === book.gateway.back &&
    book.order.owed === book.order.cancelled &&
    book.stock.out === book.stock.back
  )
    return "Nothing left over, in any book.";
  return `${CURRENCY} ${shown(book.open)} left over, and listed.`;
}
