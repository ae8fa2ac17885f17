/**
 * The key to the marks: the same shapes as in the ribbons, each with its word.
 */

import { h, s } from "./dom.js";

/** @type {Record<string, {word: string, draw: () => SVGElement[]}>} */
const MARKS = {
  done: { word: "done, holds", draw: () => [s("rect", { class: "m-do", width: 28, height: 11 })] },
  gone: {
    word: "done, taken back",
    draw: () => [s("rect", { class: "m-gone", x: 0.5, y: 0.5, width: 27, height: 10 })],
  },
  undo: {
    word: "undo",
    draw: () => [
      s("rect", { class: "m-undo", x: 0.5, width: 27, height: 11 }),
      s("rect", { width: 28, height: 11, fill: "url(#t-undo)" }),
    ],
  },
  wait: { word: "waiting", draw: () => [s("line", { class: "m-wait", x1: 0, x2: 28, y1: 5.5, y2: 5.5 })] },
  unknown: {
    word: "unknown",
    draw: () => [
      s("rect", { class: "m-unk", x: 0.5, y: 0.5, width: 27, height: 10 }),
      s("rect", { width: 28, height: 11, fill: "url(#t-hatch)" }),
    ],
  },
  again: {
    word: "tried again",
    draw: () => [
      s("rect", { class: "m-do", width: 28, height: 11 }),
      s("path", { class: "m-notch", d: "M9 0h9l-4.5 6z" }),
    ],
  },
  seam: { word: "takeover", draw: () => [s("line", { class: "m-seam", x1: 14, x2: 14, y1: -3, y2: 14 })] },
  pivot: { word: "no way back", draw: () => [s("path", { class: "m-pivot-set", d: "M13 -2v15M13 -2h7l-7 5.5z" })] },
  stuck: {
    word: "stuck",
    draw: () => [
      s("rect", { class: "m-stuck", x: 7, y: -1, width: 14, height: 13, rx: 2 }),
      s("text", { class: "m-stuck-t", x: 14, y: 9 }, "!"),
    ],
  },
};

/** @param {string} className @param {string[]} names */
export function markKey(className, names) {
  return h(
    "div",
    { class: `key ${className}`, role: "group", "aria-label": "Key to the marks" },
    names.map((name) => h("span", {}, s("svg", { "aria-hidden": "true" }, ...MARKS[name].draw()), MARKS[name].word)),
  );
}
