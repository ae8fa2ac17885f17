/**
 * Stitches across every ribbon that ran when another process took over, and in the list drawn through: each row needs only
 * the next row's x.
 */

import { s } from "./dom.js";
import { seamX } from "./ribbon.js";

/**
 * @param {import("./row.js").Row} row
 * @param {import("./row.js").Row | undefined} below the next row, if the stitches go on there
 * @param {{takeover: import("./takeovers.js").Takeover}[]} events
 * @param {import("./takeovers.js").Takeovers} takeovers
 * @param {number} height
 */
export function drawStitches(row, below, events, takeovers, height) {
  for (const old of row.svg.querySelectorAll(".m-seam")) old.remove();
  const { laid } = row;
  if (!laid?.outline.seams.length) return;
  for (const { takeover } of events) {
    const seam = takeovers.seamOf(laid.outline, takeover);
    if (!seam) continue;
    const x = `${seamX(laid, seam.seq)}%`;
    row.svg.append(s("line", { class: "m-seam", x1: x, y1: 0, x2: x, y2: height }));
    const next = below?.laid && takeovers.seamOf(below.laid.outline, takeover);
    if (!next || !below?.laid) continue;
    const to = `${seamX(below.laid, next.seq)}%`;
    row.svg.append(s("line", { class: "m-seam m-seam-x", x1: x, y1: height, x2: to, y2: height }));
  }
}
