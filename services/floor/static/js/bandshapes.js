/**
 * The shapes that a band of the large ribbon can have, each lying (h) and standing (v): the style shows one of them.
 */

import { h, s } from "./dom.js";

export const LOST_PART = 0.57; // how much of a band is hatched after an answer was lost
export const OPEN_PART = 0.45;
const TORN_PART = 0.52;

/** Not begun: dots. */
export function railBand() {
  return both(
    () => [s("line", { class: "m-rail", x1: 0, x2: "100%", y1: "50%", y2: "50%" })],
    () => [s("line", { class: "m-rail", x1: "50%", x2: "50%", y1: 0, y2: "100%" })],
  );
}

/** @param {(() => (SVGElement | false)[])} lying @param {(() => (SVGElement | false)[])} standing */
export function both(lying, standing) {
  return h(
    "div",
    { class: "layer" },
    s("svg", { class: "h", "aria-hidden": "true" }, ...lying()),
    s("svg", { class: "v", "aria-hidden": "true" }, ...standing()),
  );
}

/** @param {string} className @param {string} texture @param {number} part */
export function filled(className, texture, part) {
  const end = `${(100 * part).toFixed(1)}%`;
  return both(
    () => [
      s("rect", { class: className, width: end, height: "100%" }),
      texture !== "" && s("rect", { width: end, height: "100%", fill: texture }),
    ],
    () => [
      s("rect", { class: className, width: "100%", height: end }),
      texture !== "" && s("rect", { width: "100%", height: end, fill: texture }),
    ],
  );
}

export function openBand() {
  return both(
    () => [
      s("rect", { class: "m-do", width: `${100 * OPEN_PART}%`, height: "100%" }),
      s(
        "svg",
        { x: `${100 * OPEN_PART}%`, overflow: "visible" },
        s("rect", { class: "head", x: -1, y: -5, width: 4, height: 38 }),
      ),
    ],
    () => [
      s("rect", { class: "m-do", width: "100%", height: `${100 * OPEN_PART}%` }),
      s(
        "svg",
        { y: `${100 * OPEN_PART}%`, overflow: "visible" },
        s("rect", { class: "head", x: -5, y: -1, width: 34, height: 4 }),
      ),
    ],
  );
}

/** @param {number} from @param {number} to */
export function undoBand(from, to) {
  const [x, w] = [`${100 * from}%`, `${100 * (to - from)}%`];
  return both(
    () => [
      s("rect", { class: "m-undo", x, width: w, height: "100%" }),
      s("rect", { x, width: w, height: "100%", fill: "url(#t-undo-28)" }),
    ],
    () => [
      s("rect", { class: "m-undo", y: x, width: "100%", height: w }),
      s("rect", { y: x, width: "100%", height: w, fill: "url(#t-undo-up)" }),
    ],
  );
}

/** @param {number} part */
export function todoBand(part) {
  const end = `${100 * part}%`;
  return both(
    () => [s("rect", { class: "m-todo", width: end, height: "100%" })],
    () => [s("rect", { class: "m-todo", width: "100%", height: end })],
  );
}

export function refusedBand() {
  const [x, w] = [`${100 * TORN_PART}%`, `${100 * (1 - TORN_PART)}%`];
  return both(
    () => [
      s("rect", { class: "m-todo", width: x, height: "100%" }),
      s("rect", { class: "m-undo", x, width: w, height: "100%" }),
      s("rect", { x, width: w, height: "100%", fill: "url(#t-undo-28)" }),
      s(
        "svg",
        { x },
        s("path", { class: "m-torn thick", d: "M0-6l-7 6 7 7-7 7 7 7-7 7 7 6" }),
        s("rect", { class: "m-stuck", x: -42, y: 3, width: 24, height: 22, rx: 3 }),
        s("path", { class: "bang", d: "M-30 7.5v9M-30 19v3" }),
      ),
    ],
    () => [
      s("rect", { class: "m-todo", width: "100%", height: x }),
      s("rect", { class: "m-undo", y: x, width: "100%", height: w }),
      s("rect", { y: x, width: "100%", height: w, fill: "url(#t-undo-up)" }),
      s(
        "svg",
        { y: x },
        s("path", { class: "m-torn thick", d: "M-4 0l5-6 6 6 6-6 6 6 6-6 4 5" }),
        s("rect", { class: "m-stuck", x: 2, y: -30, width: 20, height: 20, rx: 3 }),
        s("path", { class: "bang", d: "M12-26.5v8M12-15.5v2.5" }),
      ),
    ],
  );
}

export function tornBand() {
  return both(
    () => [
      s("path", { class: "m-torn thick", d: "M4-6l-7 6 7 7-7 7 7 7-7 7 7 6" }),
      s("rect", { class: "m-stuck", x: 14, y: 3, width: 24, height: 22, rx: 3 }),
      s("path", { class: "bang", d: "M26 7.5v9M26 19v3" }),
    ],
    () => [
      s("path", { class: "m-torn thick", d: "M-4 4l5-6 6 6 6-6 6 6 6-6 4 5" }),
      s("rect", { class: "m-stuck", x: 2, y: 12, width: 20, height: 20, rx: 3 }),
      s("path", { class: "bang", d: "M12 15.5v8M12 26.5v2.5" }),
    ],
  );
}

export function wasStrip() {
  const part = `${100 * LOST_PART}%`;
  return both(
    () => [
      s(
        "svg",
        { y: "71%", height: "29%" },
        s("rect", { class: "m-was", width: part, height: "100%" }),
        s("rect", { width: part, height: "100%", fill: "url(#t-hatch)" }),
      ),
    ],
    () => [
      s(
        "svg",
        { x: "71%", width: "29%" },
        s("rect", { class: "m-was", width: "100%", height: part }),
        s("rect", { width: "100%", height: part, fill: "url(#t-hatch)" }),
      ),
    ],
  );
}

/** @param {number} again */
export function notchLayer(again) {
  const places = again > 3 ? [0.5] : Array.from({ length: again }, (_, i) => (i + 1) / (again + 1));
  return both(
    () => places.map((x) => s("svg", { x: `${100 * x}%` }, s("path", { class: "m-notch", d: "M-8-1H8L0 12z" }))),
    () => places.map((y) => s("svg", { y: `${100 * y}%` }, s("path", { class: "m-notch", d: "M-1-8V8L11 0z" }))),
  );
}
