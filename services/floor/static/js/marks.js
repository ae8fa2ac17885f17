/**
 * Draw the marks of a ribbon. The shapes are those of the key under the list; colours come from marks.css.
 */

import { s } from "./dom.js";
import { BACK_Y, BAND, FRONT_Y } from "./ribbon.js";

/** @typedef {import("./ribbon.js").Mark} Mark */

const GROWS = {
  done: "grow",
  gone: "grow",
  growing: "grow",
  unknown: "grow",
  wait: "grow",
  undo: "grow-back",
  through: "grow-back",
  fold: "turn",
};

/**
 * The children of a row's SVG. `fresh` holds the keys of marks that were not in the picture before: they move in, once.
 * @param {Mark[]} marks
 * @param {Set<string> | null} fresh
 * @returns {SVGElement[]}
 */
export function drawMarks(marks, fresh) {
  return marks.flatMap((mark) => {
    const drawn = draw(mark);
    const motion = GROWS[/** @type {keyof typeof GROWS} */ (mark.mark)];
    if (fresh?.has(mark.key) && motion) for (const node of drawn) node.classList.add(motion);
    return drawn;
  });
}

/** @param {Mark} mark @returns {SVGElement[]} */
function draw(mark) {
  const { y = FRONT_Y, h = BAND } = mark;
  switch (mark.mark) {
    case "done":
      return [band("m-do", mark, y, h)];
    case "gone":
      return [band("m-gone", mark, y, h)];
    case "unknown":
      return [band("m-unk", mark, y, h), band("", mark, y, h, "url(#t-hatch)")];
    case "was":
      return [band("m-was", mark, y, h), band("", mark, y, h, "url(#t-hatch)")];
    case "growing":
      return [
        band("m-do", mark, y, h),
        at(mark.x + (mark.w ?? 0), s("rect", { class: "head", x: -1, y: y - 3, width: 2.5, height: h + 6 })),
      ];
    case "rail":
      return [line("m-rail", mark)];
    case "wait":
      return [line("m-wait", mark)];
    case "dot":
      return [at(mark.x, s("circle", { class: "m-do", cx: 0, cy: 12.5, r: 4.5 }))];
    case "ask":
      return [
        at(
          mark.x,
          s("circle", { class: "m-ask", cx: 10, cy: 12.5, r: 7 }),
          s("text", { class: "m-unk-t", x: 10, y: 16 }, "?"),
        ),
      ];
    case "notch":
      return notch(mark);
    default:
      return drawBack(mark);
  }
}

/** @param {Mark} mark @returns {SVGElement[]} */
function drawBack(mark) {
  const { y = BACK_Y, h = BAND, dx = 0 } = mark;
  switch (mark.mark) {
    case "undo":
      return [band("m-undo", mark, y, h), band("", mark, y, h, "url(#t-undo)")];
    case "through":
      return [band("m-undo", mark, y, h)];
    case "todo":
      return [band("m-todo", mark, y, h)];
    case "tie":
      return [tie(mark)];
    case "fold":
      return [
        at(
          mark.x,
          s("rect", { class: "m-gone", x: -9, y: FRONT_Y, width: 9, height: BAND }),
          s("use", { href: "#fold" }),
        ),
      ];
    case "no":
      return [at(mark.x, s("use", { href: "#no", x: dx }))];
    case "torn":
      return [at(mark.x, s("g", { transform: `translate(${dx} ${mark.y ?? 0})` }, s("use", { href: "#torn" })))];
    case "stuck":
      return [
        at(
          mark.x,
          s("rect", { class: "m-stuck", x: dx, y, width: 15, height: 14, rx: 2 }),
          s("text", { class: "m-stuck-t", x: dx + 7.5, y: y + 10.5 }, "!"),
        ),
      ];
    default:
      return drawEnds(mark);
  }
}

/** @param {Mark} mark @returns {SVGElement[]} */
function drawEnds(mark) {
  switch (mark.mark) {
    case "pivot":
      return [
        at(
          mark.x,
          s("path", { class: "m-pivot", d: "M-1 1.5V24" }),
          s("path", { class: "m-pivot-tooth", d: "M-1 1.5h6.5l-6.5 5z" }),
        ),
      ];
    case "pivot-set":
      return [
        at(
          mark.x,
          s("path", { class: "m-pivot m-pivot-set", d: "M-1 1.5V24" }),
          s("path", { class: "m-pivot-set", d: "M-1 1.5h6.5l-6.5 5z" }),
        ),
      ];
    case "end":
      return [at(mark.x, s("rect", { class: "m-end", x: -3, y: 3, width: 5, height: 19 }))];
    case "end-back":
      return [at(mark.x, s("rect", { class: "sp-undo", x: -1, y: 24.5, width: 5, height: 18 }))];
    case "cut":
      return [at(mark.x, s("path", { class: "m-cut", d: "M2 3l-3 4 3 4-3 4 3 4-2 3" }))];
    case "blocked":
      return [
        at(
          mark.x,
          s("rect", { class: "m-blocked", x: 5, y: 5.5, width: 14, height: 14 }),
          s("path", { class: "m-blocked", d: "M8.5 10.5h7M8.5 14.5h7" }),
        ),
      ];
    default:
      return [];
  }
}

/** @param {Mark} mark */
function tie(mark) {
  if (mark.todo) return at(mark.x, s("path", { class: "m-tie", d: "M0 18v10", "stroke-dasharray": "1 2" }));
  return at(
    mark.x,
    s("path", { class: "m-tie", d: "M0 18v10" }),
    s("circle", { class: "m-knot", cx: 0, cy: 23, r: 2.8 }),
  );
}

/** @param {Mark} mark */
function notch(mark) {
  const y = mark.y ?? 0;
  const drawn = [at(mark.x, s("path", { class: "m-notch", d: `M-4.5 ${y + 6}h9L0 ${y + 12.5}z` }))];
  if (mark.n) drawn.push(at(mark.x, s("text", { class: "m-notch-t", x: 7, y: y + 16 }, `${mark.n + 1}×`)));
  return drawn;
}

/** @param {string} className @param {Mark} mark @param {number} y @param {number} h @param {string} [fill] */
function band(className, mark, y, h, fill) {
  return s("rect", {
    class: className || false,
    x: `${mark.x.toFixed(3)}%`,
    y,
    width: `${Math.max(0, mark.w ?? 0).toFixed(3)}%`,
    height: h,
    fill: fill ?? false,
  });
}

/** @param {string} className @param {Mark} mark */
function line(className, mark) {
  return s("line", {
    class: className,
    x1: `${mark.x.toFixed(3)}%`,
    y1: 12.5,
    x2: `${(mark.x + (mark.w ?? 0)).toFixed(3)}%`,
    y2: 12.5,
  });
}

/** Something of fixed size at x percent. @param {number} x @param {...SVGElement} children */
function at(x, ...children) {
  return s("svg", { x: `${x.toFixed(3)}%` }, ...children);
}
