/**
 * One row of the board: a saga's ribbon, and beside it its line in the books.
 */

import { h, icon, s, say } from "./dom.js";
import { lay } from "./laying.js";
import { isFlat, ribbon } from "./ribbon.js";
import { drawMarks } from "./marks.js";
import { answersOf, sentenceOf, standingOf } from "./words.js";
import { amount, cents, isZero, shown } from "./money.js";
import { now, since } from "./clock.js";
import { dishes } from "./labels.js";

/** @typedef {import("./shapes.js").Book} Book */
/** @typedef {import("./laying.js").Laid} Laid */
/** @typedef {import("./store.js").Store} Store */
/** @typedef {(orderId: string, answer: "pay" | "refuse", button: HTMLElement) => void} OnAnswer */

export class Row {
  /** @param {Store} store @param {string} id @param {OnAnswer} onAnswer */
  constructor(store, id, onAnswer) {
    this.store = store;
    this.id = id;
    this.onAnswer = onAnswer;
    /** @type {Set<string>} */
    this.drawnKeys = new Set();
    /** @type {Laid | null} */
    this.laid = null;
    this.signature = "";
    this.bookSignature = "";
    /** @type {HTMLElement | undefined} */
    this.small = undefined;
    this.name = h("a", { href: `#/saga/${encodeURIComponent(id)}` }, id);
    this.detail = h("small");
    this.svg = s("svg", { role: "img" });
    this.lane = h("div", { role: "cell", class: "lane" }, this.svg);
    this.state = h("div", { role: "cell", class: "state" });
    this.books = [
      h("div", { role: "cell", class: "book first" }),
      h("div", { role: "cell", class: "book" }),
      h("div", { role: "cell", class: "book" }),
    ];
    this.net = h("div", { role: "cell", class: "net" });
    this.element = h(
      "div",
      { role: "row", class: "row", "data-id": id },
      h("div", { role: "rowheader", class: "who" }, this.name, this.detail),
      this.lane,
      this.state,
      ...this.books,
      this.net,
    );
  }

  /** @param {boolean} isMoving whether what is new may move in */
  draw(isMoving) {
    const outline = this.store.outlines.get(this.id);
    if (!outline) return;
    const book = this.store.books.get(this.id);
    const laid = (this.laid = lay(outline, this.store.columns, this.store.find));
    const standing = standingOf(laid, book);
    const stuckFor = this.store.sinceStuck.get(laid.stuckId);
    if (laid.status === "stuck" && stuckFor) standing.title = `Stuck, ${since(now() - Date.parse(stuckFor))}`;
    say(
      this.detail,
      book?.customer
        ? [book.customer, book.dishes > 0 && dishes(book.dishes)].filter(Boolean).join(", ")
        : outline.type,
    );
    this.element.classList.toggle("needs", laid.status === "stuck" || laid.status === "blocked");
    this.#drawRibbon(laid, isMoving);
    this.svg.setAttribute("aria-label", sentenceOf(laid, standing));
    this.#drawState(laid, standing);
    this.#drawBooks(laid, book);
  }

  /** Only the words that run with the clock. */
  tick() {
    if (!this.laid || this.laid.status !== "running" || !this.small) return;
    const { detail } = standingOf(this.laid, this.store.books.get(this.id));
    say(this.small, detail);
  }

  /** @param {Laid} laid @param {boolean} isMoving */
  #drawRibbon(laid, isMoving) {
    const marks = ribbon(laid);
    const keys = new Set(marks.map(({ mark, key }) => `${mark} ${key}`));
    const isFirst = this.drawnKeys.size === 0;
    const fresh =
      isMoving && !isFirst
        ? new Set(
            marks
              .filter(({ mark, key }) => !this.drawnKeys.has(`${mark} ${key}`) && isNews(mark, key, this.drawnKeys))
              .map(({ key }) => key),
          )
        : null;
    this.svg.replaceChildren(...drawMarks(marks, fresh));
    this.lane.classList.toggle("is-flat", isFlat(laid));
    this.drawnKeys = keys;
  }

  /** @param {Laid} laid @param {import("./words.js").Standing} standing */
  #drawState(laid, standing) {
    const answers = answersOf(laid);
    const signature = JSON.stringify([standing, answers]);
    if (this.signature === signature) return;
    this.signature = signature;
    this.state.className = `state ${standing.tone}${answers.length ? " has-answers" : ""}`;
    this.small = h("small", {}, standing.detail);
    const buttons =
      answers.length > 0 &&
      h(
        "span",
        { class: "btns" },
        answers.map((answer) => this.#answerButton(answer)),
      );
    this.state.replaceChildren(icon(standing.icon), h("div", {}, h("b", {}, standing.title), this.small, buttons));
  }

  /** @param {"pay" | "refuse"} answer */
  #answerButton(answer) {
    const word = answer === "pay" ? "Pay" : "Refuse";
    return h(
      "button",
      {
        type: "button",
        class: "btn is-small",
        "aria-label": `${word} ${this.id}`,
        "data-answer": answer,
        onclick: (/** @type {MouseEvent} */ event) =>
          this.onAnswer(this.id, answer, /** @type {HTMLElement} */ (event.currentTarget)),
      },
      word,
    );
  }

  /** @param {Laid} laid @param {Book | undefined} book */
  #drawBooks(laid, book) {
    const signature = JSON.stringify([book, laid.status, isGoingBack(laid)]);
    if (this.bookSignature === signature) return;
    this.bookSignature = signature;
    const [gateway, orders, stock] = this.books;
    const toCome = isGoingBack(laid);
    if (!book) {
      for (const cell of this.books) cell.replaceChildren(h("span", { class: "none" }, "–"), h("span"));
      this.net.className = "net";
      this.net.removeAttribute("data-line");
      this.net.replaceChildren(h("span", { class: "faint" }, "–"));
      return;
    }
    lines(gateway, money(book.gateway.taken, book.unknown), money(book.gateway.back), book.gateway.taken, toCome);
    lines(orders, money(book.order.owed), money(book.order.cancelled), book.order.owed, toCome);
    lines(stock, count(book.stock.out), count(book.stock.back), String(book.stock.out), toCome);
    drawNet(this.net, laid, book);
  }
}

/** Whether the order itself is taken back; a child that took itself back leaves it standing. @param {Laid} laid */
function isGoingBack(laid) {
  return laid.cause !== null && laid.foldFrom === 0 && !laid.ended;
}

/** A band that only grew is no news, nor is one that now holds: its left part was there. @param {string} mark @param {string} key @param {Set<string>} drawn */
function isNews(mark, key, drawn) {
  if (mark === "done") return drawn.has(`growing ${key}`) || ![...drawn].some((one) => one.endsWith(key));
  return mark !== "gone";
}

/** @param {string} text @param {boolean} [isUnknown] */
function money(text, isUnknown = false) {
  return isZero(text) ? "" : `${shown(text)}${isUnknown ? " ?" : ""}`;
}

/** @param {number} value */
function count(value) {
  return value ? String(value) : "";
}

/** Out, and back: what is still to come back is dotted. @param {HTMLElement} cell @param {string} out @param {string} back @param {string} whole @param {boolean} toCome */
function lines(cell, out, back, whole, toCome) {
  const first = out ? h("span", {}, out) : h("span", { class: "none" }, "–");
  let second = h("span");
  if (back) second = h("span", { class: "back" }, `−${back}`);
  else if (out && toCome) second = h("span", { class: "todo" }, `−${whole.includes(".") ? shown(whole) : whole}`);
  cell.replaceChildren(first, second);
}

/** @param {HTMLElement} cell @param {Laid} laid @param {Book} book */
function drawNet(cell, laid, book) {
  const open = cents(book.open);
  const needs = laid.status === "stuck" || laid.status === "blocked";
  const { taken, back } = book.gateway;
  cell.className = `net${needs && open ? " is-held" : book.unknown ? " is-q" : ""}`;
  cell.setAttribute("data-line", lineOf(laid, book, needs));
  if (laid.ended && open === 0n) {
    cell.replaceChildren(h("b", { class: "closed" }, amount(0n)));
  } else if (open === 0n && isZero(taken) && isZero(back) && !book.unknown) {
    cell.replaceChildren(h("span", { class: "faint" }, "–"));
  } else {
    const why = needs ? "with a person" : book.unknown ? "unknown" : laid.ended ? "left over" : "in flight";
    cell.replaceChildren(h("span", {}, h("b", {}, `${amount(open)}${book.unknown ? " ?" : ""}`), h("small", {}, why)));
  }
}

/** The books in one line, for a narrow row. @param {Laid} laid @param {Book} book @param {boolean} needs */
function lineOf(laid, book, needs) {
  const { taken, back } = book.gateway;
  if (book.unknown) return `taken ${shown(taken)} or nothing`;
  if (isZero(taken)) return laid.ended ? "nothing taken" : "nothing taken yet";
  if (!isZero(back)) return `${shown(taken)} taken, ${shown(back)} given back`;
  if (needs) return `held ${shown(taken)}`;
  if (laid.status === "completed") return `${shown(taken)} taken, delivered`;
  return isGoingBack(laid) ? `giving back ${shown(taken)}` : `taken ${shown(taken)}`;
}
