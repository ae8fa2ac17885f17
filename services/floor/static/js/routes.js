/**
 * Where the page is, in the address: #/ the board, #/saga/order-7, #/desk and #/desk/order-7.
 */

/** @typedef {{view: "board" | "saga" | "desk" | "lost", id: string}} Place */

/** @param {string} hash @returns {Place} */
export function placeOf(hash) {
  const [view = "", id = "", ...rest] = hash.replace(/^#?\/?/, "").split("/");
  if (view === "") return { view: "board", id: "" };
  if (rest.length || (view !== "saga" && view !== "desk")) return { view: "lost", id: hash };
  if (view === "saga" && !id) return { view: "lost", id: hash };
  return { view, id: decoded(id) };
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
