/**
 * The headings of the board: one line of steps for each type of saga that is in the list.
 */

import { h } from "./dom.js";

/** @typedef {import("./store.js").Store} Store */

const FIRST = "delivery"; // what an empty list is going to show
const LINES_MAX = 4; // further types are drawn without names
const MANY_COLUMNS = 6;

/** @param {Store} store @param {string[]} ids */
export function headingLines(store, ids) {
  const types = [...typesOf(store, ids)];
  const lines = types.slice(0, LINES_MAX).map((type) => {
    const name = types.length > 1 && h("span", { class: "type-name" }, type);
    return h("span", { class: "heading" }, name, steps(store, type));
  });
  return { lines, signature: lines.map((line) => line.textContent).join("|"), isMixed: types.length > 1 };
}

/** @param {Store} store @param {string[]} ids @returns {Set<string>} */
function typesOf(store, ids) {
  if (!ids.length) return new Set([FIRST]);
  const found = new Set(ids.map((id) => store.outlines.get(id)?.type ?? FIRST));
  return found.has(FIRST) ? new Set([FIRST, ...found]) : found;
}

/** @param {Store} store @param {string} type */
function steps(store, type) {
  const { columns, pivotAt } = store.columns.of(type);
  const names = columns.map(({ label }) => h("span", {}, label));
  const line = h("span", { class: columns.length > MANY_COLUMNS ? "steps is-many" : "steps" }, names);
  line.style.setProperty("--columns", String(columns.length));
  if (pivotAt === null) return line;
  const pivot = h("i", { class: pivotAt >= columns.length ? "pivot-name at-end" : "pivot-name" }, "no way back");
  pivot.style.setProperty("--at", `${(100 * Math.min(pivotAt, columns.length)) / Math.max(1, columns.length)}%`);
  line.append(pivot);
  return line;
}
