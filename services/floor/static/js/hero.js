/**
 * The large ribbon: a list of pairs, each do above its undo, with the parts that the player moves.
 *
 * Each band is drawn lying and standing; the style shows one of them, because on a phone the ribbon stands upright.
 */

import { h } from "./dom.js";
import { isWait } from "./columns.js";
import { foldOf } from "./ribbon.js";
import { labelOf } from "./labels.js";
import { took } from "./clock.js";
import { isPayment, refundWords, stakeOf } from "./stakes.js";
import { lower } from "./words.js";
import { backBand, doBand, foldMark, waitBand } from "./bands.js";
import { railBand } from "./bandshapes.js";

/** @typedef {import("./laying.js").Laid} Laid */
/** @typedef {import("./laying.js").Cell} Cell */
/** @typedef {import("./telling.js").Tale} Tale */
/** @typedef {import("./telling.js").Times} Times */
/** @typedef {import("./telling.js").Traced} Traced */
/** @typedef {import("./player.js").Part} Part */
/** @typedef {import("./shapes.js").Book} Book */

/**
 * @param {Laid} laid
 * @param {Tale} tale
 * @param {Traced[]} attempts
 * @param {Book | undefined} book
 * @param {(seam: Tale["seams"][number]) => string} tellSeam
 * @returns {{list: HTMLElement, parts: Part[]}}
 */
export function hero(laid, tale, attempts, book, tellSeam) {
  /** @type {Part[]} */
  const parts = [];
  const pairs = laid.columns.map((column, at) => {
    const cells = laid.cells.filter((cell) => cell.column === at);
    return pair({ laid, tale, attempts, book, parts }, cells, column.paths, at);
  });
  const list = h(
    "ol",
    { class: tale.seams.length ? "pairs has-seams" : "pairs" },
    pairs,
    tale.seams.map((seam) => seamMark(laid, seam, parts, tellSeam)),
  );
  const isCrowded = tale.seams.some(
    ({ path }) => Math.abs((laid.at.get(path)?.column ?? 99) - (laid.pivotAt ?? -99)) < 2,
  );
  list.classList.toggle("seam-at-pivot", isCrowded); // The flag needs the room of the pivot's words.
  list.style.setProperty("--columns", String(Math.max(1, laid.columns.length)));
  return { list, parts };
}

/** @typedef {{laid: Laid, tale: Tale, attempts: Traced[], book: Book | undefined, parts: Part[]}} Scene */

/** @param {Scene} scene @param {Cell[]} cells @param {string[]} paths @param {number} at */
function pair(scene, cells, paths, at) {
  const { laid } = scene;
  const isCause = laid.cause !== null && cells.includes(laid.cause);
  const isAfter = laid.cause !== null && at > laid.foldAt;
  const isPivot = laid.pivotAt === at && laid.foldFrom >= at;
  const classes = [
    "pair",
    !cells.length && "ghost",
    isCause && "failed",
    isPivot && "pivot",
    isPivot && laid.outline.pivot_seq !== null && "is-set",
    isPivot && cells.some(({ op }) => op.undo) && "has-undo",
    ...seamClasses(scene, cells),
    at === laid.columns.length - 1 && "end",
  ];
  const front = cells.length
    ? cells.map((cell) => doBand(scene, cell, isCause ? foldOf(cell) - at : null))
    : [isAfter || laid.ended ? h("div", { class: "band" }) : railBand()];
  const waits = cells.filter(({ op }) => isWait(op));
  const element = h(
    "li",
    { class: classes.filter(Boolean).join(" ") },
    caption(scene, cells, paths),
    waits.length
      ? waitBand(scene, waits[0], isCause)
      : h("div", { class: "band" }, front.length > 1 ? lanes(front) : front),
    ...backSide(scene, cells, at, isCause),
    isCause && laid.cause ? foldMark(scene, laid.cause) : null,
  );
  return element;
}

/** The flag of a takeover needs the place where the tie's words would stand. @param {Scene} scene @param {Cell[]} cells */
function seamClasses({ tale }, cells) {
  const seams = tale.seams.filter(({ path }) => cells.some((cell) => cell.path === path));
  return seams.length ? ["has-seam", seams[0].isBack && "is-back"] : [];
}

/** Steps side by side share the height of the band. @param {HTMLElement[]} bands */
function lanes(bands) {
  bands.forEach((band, i) => {
    band.style.setProperty("top", `${(100 * i) / bands.length}%`);
    band.style.setProperty("bottom", `${100 - (100 * (i + 1)) / bands.length + 3}%`);
  });
  return bands;
}

/** @param {Scene} scene @param {Cell[]} cells @param {string[]} paths */
function caption(scene, cells, paths) {
  const names = cells.length
    ? cells.map(({ key }) => labelOf(key).does)
    : paths.map((path) => labelOf(/** @type {string} */ (path.split("/").at(-1))).does);
  if (!cells.length)
    return h(
      "div",
      { class: "cap" },
      h("b", {}, names.join(", ")),
      h("small", {}, scene.laid.ended || scene.laid.cause ? "never begun" : "not begun yet"),
    );
  const [cell] = cells;
  const times = scene.tale.times.get(cell.path) ?? {};
  const lines = cellLines(scene, cell, times);
  const seam = scene.tale.seams.find(({ path }) => path === cell.path);
  if (seam) {
    const line = h("small", { class: "only-phone" }, "taken over here");
    scene.parts.push({ el: line, show: seam.t });
    lines.push(line);
  }
  return h("div", { class: "cap" }, h("b", {}, names.join(", ")), lines);
}

/** Two short lines under a step: what was moved, how long it took, and what went wrong on the way. @param {Scene} scene @param {Cell} cell @param {Times} times */
function cellLines(scene, cell, times) {
  const stake = stakeOf(cell.key, scene.book);
  const first = [
    stake && cell.shape !== "failed" && !stake.whole.startsWith("0 ") && !/ 0\.00$/.test(stake.whole)
      ? stake.whole
      : "",
    durationOf(scene, cell),
  ]
    .filter(Boolean)
    .join(", ");
  const line = h("small", {}, first);
  const extra = extraOf(cell, scene.laid);
  if (!extra.length) return [line];
  const second = h("small");
  scene.parts.push({
    el: second,
    says: [
      [0, ""],
      ...extra.map(
        ([when, text]) => /** @type {[number, string]} */ ([(when === "lost" ? times.lost : times.ended) ?? 0, text]),
      ),
    ],
  });
  return [line, second];
}

/** @param {Cell} cell @param {Laid} laid @returns {["lost" | "ended", string][]} */
function extraOf(cell, laid) {
  if (cell === laid.cause) return [["ended", causeText(cell, laid)]];
  if (cell.op.was_unknown)
    return [
      ["lost", "answer lost, unknown"],
      ...(cell.shape === "asking" || cell.shape === "unknown"
        ? []
        : [/** @type {["ended", string]} */ (["ended", "looked up: done once"])]),
    ];
  if (cell.shape === "torn") return [["ended", `refused, ${cell.op.attempts} tries`]];
  return cell.op.attempts > 1 ? [["ended", `tried ${cell.op.attempts} times`]] : [];
}

/** @param {Cell} cell @param {Laid} laid */
function causeText(cell, laid) {
  const reason = /reason=(['"])(.*?)\1/.exec(laid.outline.error ?? "")?.[2];
  if (reason && laid.ended) return reason;
  return isWait(cell.op)
    ? cell.op.state === "failed"
      ? "nobody answered"
      : "the answer was no"
    : cell.shape === "failed"
      ? "refused"
      : "went no further";
}

/** @param {Scene} scene @param {Cell} cell */
function durationOf(scene, cell) {
  const own = scene.attempts.filter(
    (one) => one.sagaId === cell.sagaId && one.seq === cell.op.seq && one.undo_of === null,
  );
  const to = own.at(-1)?.to;
  return own.length && to ? took(Date.parse(to) - Date.parse(own[0].from)) : "";
}

/** The tie, the undo and its words. @param {Scene} scene @param {Cell[]} cells @param {number} at @param {boolean} isCause */
function backSide(scene, cells, at, isCause) {
  const { laid } = scene;
  if (!laid.cause || at > laid.foldAt || at < laid.foldFrom || (laid.ended && !laid.cells.some(({ op }) => op.undo)))
    return [h("div"), h("div"), h("div", { class: "foot" })];
  const undone = cells.filter(({ op }) => op.undo !== null);
  const band = backBand(scene, cells, undone[0] ?? null, at, isCause ? foldOf(laid.cause) - at : null);
  if (!undone.length) {
    const foot = h("div", { class: "foot" }, h("small", {}, footOf(scene, cells)));
    const due = toCome(scene, cells);
    for (const el of [foot, due]) scene.parts.push({ el, show: scene.tale.foldT ?? 0 });
    return [due, band, foot];
  }
  const [cell] = undone;
  const times = scene.tale.times.get(cell.path) ?? {};
  const foot = h(
    "div",
    { class: "foot" },
    h("b", {}, undone.map((one) => undoWords(one, scene.book)).join(", ")),
    h("small", {}, undoLine(scene, cell)),
  );
  scene.parts.push({ el: foot, show: times.undoBegun ?? 0 });
  return [tie(scene, cell, times), band, foot];
}

/** What still stands, and waits for its undo. @param {Scene} scene @param {Cell[]} cells */
function toCome(scene, cells) {
  const standing = cells.find((cell) => cell.shape === "done" || cell.shape === "unknown");
  if (!standing || scene.laid.ended || scene.laid.foldFrom > 0) return h("div");
  const stake = stakeOf(standing.key, scene.book);
  return h("div", { class: "tie is-todo" }, h("b", {}, stake?.left ?? "to come"));
}

/** @param {Scene} scene @param {Cell[]} cells */
function footOf(scene, cells) {
  const standing = cells.find((cell) => cell.shape === "done" || cell.shape === "unknown");
  if (!standing) return "nothing to take back";
  if (scene.laid.ended) return "it stays";
  return `to come: ${lower(isPayment(standing.key) ? refundWords(scene.book) : labelOf(standing.key).undoes)}`;
}

/** @param {Scene} scene @param {Cell} cell @param {Times} times */
function tie(scene, cell, times) {
  const stake = stakeOf(cell.key, scene.book);
  const state = cell.op.undo?.state;
  if (state === "failed" || state === "left") {
    return h(
      "div",
      { class: state === "failed" ? "tie is-todo torn" : "tie is-todo" },
      h("b", {}, stake?.left ?? (state === "left" ? "left" : "stuck")),
    );
  }
  if (state === "open") return h("div", { class: "tie is-todo" }, h("b", {}, stake?.left ?? "under way"));
  const element = h("div", { class: "tie" }, h("b", {}, stake?.left ?? "0 left"));
  scene.parts.push({ el: element, show: times.undoEnded ?? 0 });
  return element;
}

/** @param {Cell} cell @param {Book | undefined} book */
function undoWords(cell, book) {
  const words = isPayment(cell.key) ? refundWords(book) : labelOf(cell.key).undoes;
  if (cell.op.undo?.state === "failed") return `${words}: refused`;
  return cell.op.undo?.state === "left" ? `${words}: left` : words;
}

/** @param {Scene} scene @param {Cell} cell */
function undoLine(scene, cell) {
  const own = scene.attempts.filter((one) => one.sagaId === cell.sagaId && one.undo_of === cell.op.seq);
  const tries = cell.op.undo?.attempts ?? 0;
  const to = own.at(-1)?.to;
  const time = own.length && to ? took(Date.parse(to) - Date.parse(own[0].from)) : "";
  const many = tries > 1 ? `tried ${tries === 2 ? "twice" : `${tries} times`}` : "";
  return [many, time].filter(Boolean).join(", ");
}

/** @param {Laid} laid @param {Tale["seams"][number]} seam @param {Part[]} parts @param {(seam: Tale["seams"][number]) => string} tellSeam */
function seamMark(laid, seam, parts, tellSeam) {
  const cell = laid.at.get(seam.path);
  const at = ((cell?.column ?? 0) + 0.56) / Math.max(1, laid.columns.length);
  const element = h(
    "li",
    { class: `seam-h${seam.isBack ? " is-back" : ""}${at < 0.2 ? " is-early" : ""}` },
    h("span", {}, tellSeam(seam)),
  );
  element.style.setProperty("left", `${(100 * at).toFixed(2)}%`);
  parts.push({ el: element, show: seam.t });
  return element;
}
