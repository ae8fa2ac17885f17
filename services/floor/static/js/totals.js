/**
 * The last row of the board: the same sums as in its columns, over every order.
 */

import { h } from "./dom.js";
import { grouped, isZero, shown } from "./money.js";
import { ROWS_MAX } from "./store.js";

/** @param {import("./store.js").Store} store @param {number} count of rows that are shown @param {boolean} isWhole */
export function totalCells(store, count, isWhole) {
  const { totals } = store;
  const note = store.order.length >= ROWS_MAX ? "figures: every order" : "every order";
  const keys = h("span", { role: "cell" }, keysLine());
  const name = h(
    "span",
    { role: "rowheader" },
    isWhole ? `All ${grouped(count)}` : `${grouped(count)} shown`,
    h("small", {}, note),
  );
  const middle = h("span", { role: "cell" }, h("small", { class: "num" }, "out, and back"));
  if (!totals) return [name, keys, middle, ...["–", "–", "–", "–"].map((none) => cell(none, null))];
  const adrift = h("span", { class: isZero(totals.adrift) ? "closed" : "closed amt-stuck" }, shown(totals.adrift));
  return [
    name,
    keys,
    middle,
    cell(shown(totals.taken), back(shown(totals.back))),
    cell(shown(totals.owed), back(shown(totals.cancelled))),
    cell(grouped(totals.stock_out), back(grouped(totals.stock_back))),
    cell(shown(totals.open), h("small", {}, "adrift ", adrift)),
  ];
}

/** @param {string} figure @param {Node | null} below */
function cell(figure, below) {
  return h("span", { role: "cell", class: "num" }, figure, below);
}

/** @param {string} figure */
function back(figure) {
  return h("small", { class: "amt-undo" }, `−${figure}`);
}

function keysLine() {
  const key = (/** @type {string} */ name, /** @type {string} */ does) =>
    h(
      "span",
      {},
      name.split(" ").flatMap((one) => [h("kbd", {}, one), " "]),
      does,
    );
  return h(
    "small",
    { class: "keys" },
    key("j k", "move"),
    key("Enter", "open"),
    key("p", "pay"),
    key("r", "refuse"),
    key("?", "all keys"),
  );
}
