/**
 * What a case at the desk has taken back so far, and what of it still stands.
 */

import { h, icon } from "./dom.js";
import { labelOf } from "./labels.js";
import { stakeOf } from "./stakes.js";
import { keyOf } from "./verbs.js";
import { lower } from "./words.js";

/** @typedef {import("./shapes.js").Desk} Desk */
/** @typedef {import("./shapes.js").Op} Op */
/** @typedef {import("./shapes.js").Book} Book */

/**
 * What the children of a saga took back by themselves: its own desk has no line of it.
 *
 * @param {import("./laying.js").Cell[]} cells
 * @param {string} id
 */
export function takenBackInside(cells, id) {
  return cells.filter(({ sagaId, op }) => sagaId !== id && op.undo?.state === "undone").map(({ op }) => op);
}

/** @param {Desk} desk @param {Op[]} inside @param {Book | undefined} book */
export function standing(desk, inside, book) {
  const back = [...desk.taken_back, ...inside].map((op) => backLine(op, book));
  const stands = desk.standing.map((op) => standsLine(op, book));
  const none = (/** @type {string} */ words) => h("li", {}, h("i"), h("span", { class: "dim" }, words), h("b"));
  return h(
    "div",
    { class: "stand" },
    h("section", {}, h("h3", {}, "Taken back so far"), h("ul", {}, back.length ? back : none("Nothing yet"))),
    h("section", {}, h("h3", {}, "Still standing"), h("ul", {}, stands.length ? stands : none("Nothing"))),
  );
}

/** @param {Op} op @param {Book | undefined} book */
function backLine(op, book) {
  const stake = stakeOf(keyOf(op), book);
  return line(op, icon("i-undone", "ico c-undo"), labelOf(keyOf(op)).undoes, stake?.isZero ? stake.left : "");
}

/** @param {Op} op @param {Book | undefined} book */
function standsLine(op, book) {
  const stake = stakeOf(keyOf(op), book);
  const isTorn = op.undo?.state === "failed";
  const mark = isTorn ? icon("i-stuck", "ico c-stuck") : icon("i-running", "ico c-do");
  return line(op, mark, stands(op), stake && !stake.isZero ? stake.left : "");
}

/** @param {Op} op */
function stands(op) {
  if (op.state === "unknown") return "perhaps: nobody knows";
  if (op.undo?.state === "failed")
    return `its undo was refused, ${op.undo.attempts} ${op.undo.attempts === 1 ? "try" : "tries"}`;
  return labelOf(keyOf(op)).does;
}

/** @param {Op} op @param {Node} mark @param {string} said @param {string} left */
function line(op, mark, said, left) {
  return h("li", {}, mark, h("span", {}, labelOf(keyOf(op)).stands, h("small", {}, lower(said))), h("b", {}, left));
}
