/**
 * The bands of the large ribbon, each lying (h) and standing (v), and the fold between do and undo.
 */

import {
  both,
  filled,
  LOST_PART,
  notchLayer,
  OPEN_PART,
  openBand,
  refusedBand,
  todoBand,
  tornBand,
  undoBand,
  wasStrip,
} from "./bandshapes.js";
import { h, s } from "./dom.js";
import { foldOf } from "./ribbon.js";

/** @typedef {import("./hero.js").Scene} Scene */
/** @typedef {import("./laying.js").Cell} Cell */

/** What was done. @param {Scene} scene @param {Cell} cell @param {number | null} part how far it reaches, where it folds */
export function doBand(scene, cell, part) {
  const times = scene.tale.times.get(cell.path) ?? {};
  const begun = times.begun ?? 0;
  const ended = times.ended ?? scene.tale.end;
  /** @type {HTMLElement[]} */
  const layers = [];
  const layer = (/** @type {HTMLElement} */ element, /** @type {Partial<import("./player.js").Part>} */ moves) => {
    scene.parts.push({ el: element, ...moves });
    layers.push(element);
    return element;
  };
  if (cell.shape === "growing") layer(openBand(), { grow: [begun, ended] });
  if (cell.shape === "torn") layer(tornBand(), { show: begun });
  if (cell.op.was_unknown || cell.shape === "unknown") {
    const found = cell.shape === "done" || cell.shape === "gone" ? ended : undefined;
    layer(filled("m-unk", "url(#t-hatch)", cell.shape === "unknown" ? 1 : LOST_PART), {
      grow: [begun, times.lost ?? ended],
    });
    if (found !== undefined) scene.parts.push({ el: layers[layers.length - 1], hide: found });
    layer(h("span", { class: "q" }, "?"), { show: times.lost ?? ended, hide: found });
  }
  if (cell.shape === "done" || cell.shape === "gone") {
    const from = cell.op.was_unknown ? Math.max(begun, ended - 0.05) : begun;
    const whole = h("div", { class: "layer" }, filled("m-do", "", part ?? 1), cell.op.was_unknown && wasStrip());
    layer(whole, { grow: [from, ended] });
    if (cell.shape === "gone") {
      const gone = h("div", { class: "layer" }, filled("m-gone", "", part ?? 1), cell.op.was_unknown && wasStrip());
      layer(gone, { show: times.undoEnded ?? 0 });
      scene.parts.push({ el: whole, hide: times.undoEnded ?? 0 });
    }
    if (cell.op.attempts > 1) layer(notchLayer(cell.op.attempts - 1), { show: ended });
  }
  return h("div", { class: "layer" }, layers);
}

/** Nothing runs, nothing is paid for: a thread. @param {Scene} scene @param {Cell} cell @param {boolean} isCause */
export function waitBand(scene, cell, isCause) {
  const times = scene.tale.times.get(cell.path) ?? {};
  const isOpen = cell.shape === "waiting";
  const to = isCause ? 55 : isOpen ? 42 : 100;
  const line = both(
    () => [
      s("line", { class: "m-wait thread", x1: 0, x2: `${to}%`, y1: "50%", y2: "50%" }),
      isOpen && s("circle", { class: "m-do", cx: `${to}%`, cy: "50%", r: 8 }),
    ],
    () => [
      s("line", { class: "m-wait thread", x1: "50%", x2: "50%", y1: 0, y2: `${isCause ? 62 : to}%` }),
      isOpen && s("circle", { class: "m-do", cx: "50%", cy: `${to}%`, r: 8 }),
    ],
  );
  scene.parts.push({ el: line, grow: [times.begun ?? 0, times.ended ?? scene.tale.end] });
  return h("div", { class: "band" }, line);
}

/**
 * The way back under one step: its undo, or only the ribbon that passes.
 * @param {Scene} scene
 * @param {Cell[]} cells
 * @param {Cell | null} cell
 * @param {number} at
 * @param {number | null} part
 */
export function backBand(scene, cells, cell, at, part) {
  const { tale, laid } = scene;
  if (!cell) {
    const waits =
      cells.some(({ shape }) => shape === "done" || shape === "unknown") && !laid.ended && laid.foldFrom === 0;
    if (waits) return h("div", { class: "band" }, todoBand(1));
    const nextT = nextUndo(scene, at);
    const band = h("div", { class: "band back" }, filled("m-undo", "", part ?? 1));
    scene.parts.push({
      el: band,
      grow: [(tale.foldT ?? 0) + 0.15, Math.max((tale.foldT ?? 0) + 0.35, nextT)],
      isBack: true,
    });
    return band;
  }
  const times = tale.times.get(cell.path) ?? {};
  const state = cell.op.undo?.state;
  if (state === "failed") return h("div", { class: "band" }, refusedBand());
  if (state === "left") return h("div", { class: "band" }, todoBand(part ?? 1));
  const isOpen = state === "open";
  const band = h(
    "div",
    { class: "band back" },
    undoBand(isOpen ? OPEN_PART : 0, part ?? 1),
    (cell.op.undo?.attempts ?? 1) > 1 && notchLayer((cell.op.undo?.attempts ?? 1) - 1),
  );
  scene.parts.push({ el: band, grow: [times.undoBegun ?? 0, times.undoEnded ?? tale.end], isBack: true });
  return isOpen ? h("div", { class: "band" }, todoBand(OPEN_PART), h("div", { class: "layer" }, band)) : band;
}

/** The ribbon turns over, at its cause. @param {Scene} scene @param {Cell} cause */
export function foldMark(scene, cause) {
  const t = scene.tale.foldT ?? 0;
  const isAlone = scene.laid.foldFrom > 0 && scene.laid.status === "stuck"; // A child is back, and its order waits for a person.
  const isPlain = scene.laid.ended && !scene.laid.cells.some(({ op }) => op.undo);
  const lying = h(
    "div",
    { class: "fold fold-h", "aria-hidden": "true" },
    s(
      "svg",
      { width: 62, height: 94 },
      ...(isPlain
        ? []
        : [
            s("rect", { class: "m-gone", x: -16, y: 0, width: 16, height: 28 }),
            s("path", { class: "hm-a", d: "M0 14A33 33 0 0 1 33 47" }),
            s("path", { class: "hm-b", d: "M33 47A33 33 0 0 1 0 80" }),
            s("path", { class: "hm-ea", d: "M0 0A47 47 0 0 1 47 47M0 28A19 19 0 0 1 19 47" }),
            s("path", { class: "hm-eb", d: "M47 47A47 47 0 0 1 0 94M19 47A19 19 0 0 1 0 66M19 47h28" }),
          ]),
      s("circle", { class: "m-fail", cx: -16, cy: 14, r: 11 }),
      s("path", { class: "m-fail-x", d: "M-20.5 9.5l9 9M-11.5 9.5l-9 9" }),
      ...(isAlone
        ? [
            s("rect", { class: "m-stuck", x: 52, y: 36, width: 24, height: 22, rx: 3 }),
            s("path", { class: "bang", d: "M64 40.5v9M64 52v3" }),
          ]
        : []),
    ),
  );
  const standing = h(
    "div",
    { class: "fold fold-v", "aria-hidden": "true" },
    s(
      "svg",
      { width: 112, height: 62 },
      ...(isPlain
        ? []
        : [
            s("rect", { class: "m-gone", x: 0, y: -14, width: 24, height: 14 }),
            s("path", { class: "hm-a", d: "M12 0A44 44 0 0 0 56 44" }),
            s("path", { class: "hm-b", d: "M56 44A44 44 0 0 0 100 0" }),
            s("path", { class: "hm-ea", d: "M0 0A56 56 0 0 0 56 56M24 0A32 32 0 0 0 56 32" }),
            s("path", { class: "hm-eb", d: "M56 56A56 56 0 0 0 112 0M56 32A32 32 0 0 0 88 0M56 32v24" }),
          ]),
      s("circle", { class: "m-fail", cx: 12, cy: -14, r: 10 }),
      s("path", { class: "m-fail-x", d: "M8-18l8 8M16-18l-8 8" }),
    ),
  );
  lying.style.setProperty("left", `${(100 * (foldOf(cause) - cause.column)).toFixed(1)}%`);
  for (const el of [lying, standing]) scene.parts.push({ el, show: t });
  return h("div", { class: "folds" }, lying, standing);
}

/** When the first undo to the left of a column begins: until then the ribbon runs back. @param {Scene} scene @param {number} at */
function nextUndo(scene, at) {
  const times = scene.laid.cells
    .filter((cell) => cell.column < at && cell.op.undo)
    .map((cell) => scene.tale.times.get(cell.path)?.undoBegun ?? 0);
  return times.length ? Math.min(...times) : scene.tale.end;
}
