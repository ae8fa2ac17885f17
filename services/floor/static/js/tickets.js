/**
 * A ticket of the stuck desk: what waits, since when, and why, with its ribbon.
 */

import { h, icon, s } from "./dom.js";
import { now, since } from "./clock.js";
import { lay } from "./laying.js";
import { drawMarks } from "./marks.js";
import { CURRENCY, shown } from "./money.js";
import { ribbon } from "./ribbon.js";
import { asked } from "./verbs.js";
import { sentenceOf, standingOf } from "./words.js";

/**
 * @param {import("./store.js").Store} store
 * @param {string} id
 * @param {import("./shapes.js").Desk | undefined} desk
 * @param {boolean} isSelected
 */
export function ticket(store, id, desk, isSelected) {
  const book = store.books.get(store.rootOf(id));
  const isBlocked = store.outlines.get(id)?.status === "blocked";
  const tag = h(
    "span",
    { class: isBlocked ? "tag is-blocked" : "tag is-stuck" },
    icon(isBlocked ? "i-blocked" : "i-stuck"),
    isBlocked ? "Blocked" : "Stuck",
  );
  const age = desk?.since ? since(now() - Date.parse(desk.since)) : "";
  return h(
    "a",
    { class: "ticket", href: `#/desk/${encodeURIComponent(id)}`, "data-id": id, "aria-current": isSelected && "true" },
    h("span", { class: "l1" }, h("b", {}, id), h("span", { class: "dim" }, age)),
    h("p", {}, why(isBlocked, desk, book)),
    mini(store, id, book),
    h("span", { class: "l1" }, tag, h("span", {}, book ? `${CURRENCY} ${shown(book.open)} held` : "")),
  );
}

/** @param {boolean} isBlocked @param {import("./shapes.js").Desk | undefined} desk @param {import("./shapes.js").Book | undefined} book */
function why(isBlocked, desk, book) {
  if (isBlocked) return "The code no longer matches its journal.";
  if (!desk) return "";
  return `${asked(desk, book)}: refused${desk.phase === "forward" ? ", and no way back" : ""}.`;
}

/** The whole order, though a child of it may be what waits. @param {import("./store.js").Store} store @param {string} id @param {import("./shapes.js").Book | undefined} book */
function mini(store, id, book) {
  const root = store.outlines.get(store.rootOf(id));
  if (!root) return s("svg", { class: "mini", "aria-hidden": "true" });
  const laid = lay(root, store.columns, store.find);
  return s(
    "svg",
    { class: "mini", role: "img", "aria-label": sentenceOf(laid, standingOf(laid, book)) },
    ...drawMarks(ribbon(laid), null),
  );
}
