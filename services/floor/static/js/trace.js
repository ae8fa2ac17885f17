/**
 * The trace: every attempt as a bar in time, each undo bracketed to what it takes back.
 */

import { h, s, say } from "./dom.js";
import { axisOf, ticksOf } from "./squeezing.js";
import { clock, now, took } from "./clock.js";
import { isWait } from "./columns.js";
import { labelOf, reasonOf } from "./labels.js";
import { isPayment, refundWords } from "./stakes.js";
import { markKey } from "./key.js";

/** @typedef {import("./laying.js").Laid} Laid */
/** @typedef {import("./laying.js").Cell} Cell */
/** @typedef {import("./telling.js").Traced} Traced */
/** @typedef {{cell: Cell, name: string, isUndo: boolean, attempts: Traced[]}} Line */

const ROW_PX = 29;
const HEAD_PX = 24;
const BRACKETS_PX = 44;
const BAR_MIN_W = 0.8;
const TICK_ROOM = 9;
const CHAR_W = 1.15; // percent that a letter of a note takes, at most

export class Trace {
  constructor() {
    this.isSqueezed = true;
    this.box = h("div", { class: "trace", role: "group", "aria-label": "Trace, scrolls sideways", tabindex: "0" });
    this.note = h("span", { class: "dim" });
    this.count = h("span");
    const tabs = [
      ["Squeezed", true],
      ["To scale", false],
    ].map(([word, isSqueezed]) =>
      h(
        "button",
        {
          type: "button",
          "aria-pressed": String(isSqueezed),
          onclick: (/** @type {MouseEvent} */ event) => {
            this.isSqueezed = Boolean(isSqueezed);
            for (const tab of tabs) tab.setAttribute("aria-pressed", String(tab === event.currentTarget));
            this.#redraw();
          },
        },
        String(word),
      ),
    );
    this.element = h(
      "section",
      { class: "panel", "aria-labelledby": "h-trace" },
      h("header", {}, h("h2", { id: "h-trace" }, "Trace"), this.note),
      this.box,
      h(
        "p",
        { class: "trace-foot" },
        this.count,
        h("span", {}, "undo spans link to the spans they take back"),
        h("span", { class: "end" }, h("span", { class: "tabs", role: "group", "aria-label": "Time axis" }, tabs)),
      ),
      markKey("", ["done", "gone", "undo", "wait", "unknown", "again", "seam", "pivot"]),
    );
  }

  /** @param {Laid} laid @param {Traced[]} attempts @param {import("./shapes.js").Book | undefined} book @param {(seam: import("./shapes.js").Seam) => string} tellSeam */
  draw(laid, attempts, book, tellSeam) {
    this.drawn = { laid, attempts, book, tellSeam };
    this.#redraw();
  }

  #redraw() {
    if (!this.drawn) return;
    const { laid, attempts, book, tellSeam } = this.drawn;
    say(
      this.note,
      this.isSqueezed
        ? "each undo points to what it takes back; quiet stretches are squeezed"
        : "each undo points to what it takes back",
    );
    const lines = linesOf(laid, attempts, book);
    const end = laid.outline.ended_at ? Date.parse(laid.outline.ended_at) : now();
    const points = [
      Date.parse(laid.outline.started_at),
      ...lines.flatMap((line) =>
        line.attempts.flatMap(({ from, to }) => [Date.parse(from), to ? Date.parse(to) : end]),
      ),
    ];
    const axis = axisOf(points, this.isSqueezed);
    const seams = laid.outline.seams.map((seam) => ({ x: axis.x(Date.parse(seam.at)), text: tellSeam(seam) }));
    const scene = { laid, axis, seams, end };
    const table = h(
      "div",
      { role: "table", "aria-labelledby": "h-trace" },
      head(points, scene),
      lines.map((line) => row(line, scene)),
    );
    this.box.replaceChildren(brackets(lines), table);
    const spans = lines.reduce((all, line) => all + line.attempts.length, 0);
    say(this.count, `${spans} ${spans === 1 ? "span" : "spans"}`);
  }
}

/** @typedef {{laid: Laid, axis: import("./squeezing.js").Axis, seams: {x: number, text: string}[], end: number}} Scene */

/** What was done and what was taken back, each in the order in which it began. @param {Laid} laid @param {Traced[]} attempts @param {import("./shapes.js").Book | undefined} book @returns {Line[]} */
export function linesOf(laid, attempts, book) {
  /** @type {Line[]} */
  const lines = [];
  for (const cell of laid.cells) {
    const own = attempts.filter((one) => one.sagaId === cell.sagaId && one.seq === cell.op.seq && one.undo_of === null);
    const back = attempts.filter((one) => one.sagaId === cell.sagaId && one.undo_of === cell.op.seq);
    const label = labelOf(cell.key);
    if (own.length) lines.push({ cell, name: label.does, isUndo: false, attempts: own });
    if (back.length)
      lines.push({ cell, name: isPayment(cell.key) ? refundWords(book) : label.undoes, isUndo: true, attempts: back });
  }
  return lines.sort((one, other) => one.attempts[0].from.localeCompare(other.attempts[0].from));
}

/** @param {number[]} points @param {Scene} scene */
function head(points, { axis, seams }) {
  const ticks = ticksOf(points, axis, TICK_ROOM).filter((at) =>
    seams.every(({ x }) => Math.abs(x - axis.x(at)) > TICK_ROOM / 2),
  );
  const digits = Math.max(...points) - Math.min(...points) < 2_000 ? 3 : 1;
  const texts = ticks.map((at) => {
    const x = axis.x(at);
    return s(
      "text",
      { class: "tick-t", x: `${x}%`, y: 19, "text-anchor": x > 92 ? "end" : "start" },
      clock(at, digits).slice(6),
    );
  });
  const flags = seams.slice(0, 1).map(({ x, text }) => s("svg", { x: `${x}%` }, ...flag(text, x)));
  return h(
    "div",
    { class: "tr axis", role: "row" },
    h("span", { role: "cell" }),
    h("span", { role: "columnheader" }, clock(Math.min(...points)).slice(0, 5)),
    h(
      "div",
      { class: "bars", role: "columnheader" },
      h("span", { class: "vh" }, "time"),
      s("svg", { "aria-hidden": "true" }, ...texts, ...flags),
    ),
    h("span", { role: "columnheader", class: "num" }, "took"),
  );
}

/** @param {string} text @param {number} x */
function flag(text, x) {
  const width = 14 + text.length * 6.1;
  const left = x > 60 ? 28 - width : -28;
  return [
    s("rect", { class: "seam-flag", x: left, y: 4, width, height: 19, rx: 2 }),
    s("text", { class: "seam-flag-t", x: left + 7, y: 17 }, text),
  ];
}

/** @param {Line} line @param {Scene} scene */
function row(line, scene) {
  const { axis, end } = scene;
  const first = line.attempts[0];
  const last = /** @type {Traced} */ (line.attempts.at(-1));
  const ms = (last.to ? Date.parse(last.to) : end) - Date.parse(first.from);
  const drawing = [
    ...axis.gaps.map(({ x, w }) => s("rect", { class: "gap", x: `${x}%`, width: `${w}%`, y: 0, height: ROW_PX })),
    ...scene.seams.map(({ x }) => s("line", { class: "m-seam", x1: `${x}%`, x2: `${x}%`, y1: 0, y2: ROW_PX })),
    ...line.attempts.flatMap((attempt, i) => bar(line, attempt, i, scene)),
  ];
  const words = line.attempts
    .map(
      (attempt) =>
        `${clock(attempt.from, 3)}, ${attempt.outcome || "no answer yet"}${attempt.note ? `: ${attempt.note}` : ""}`,
    )
    .join("; ");
  return h(
    "div",
    { class: line.isUndo ? "tr undo" : "tr", role: "row" },
    h("span", { role: "cell" }),
    h("b", { role: "rowheader", title: line.name }, line.name),
    h("div", { class: "bars", role: "cell" }, s("svg", { role: "img", "aria-label": words }, ...drawing)),
    h("span", { role: "cell", class: "num" }, last.to ? took(ms) : "…"),
  );
}

/** @param {Line} line @param {Traced} attempt @param {number} i @param {Scene} scene @returns {SVGElement[]} */
function bar(line, attempt, i, { laid, axis, end }) {
  const x = axis.x(Date.parse(attempt.from));
  const to = axis.x(attempt.to ? Date.parse(attempt.to) : end);
  const w = Math.max(BAR_MIN_W, to - x);
  const box = (/** @type {string | false} */ className, fill = "") =>
    s("rect", { class: className, x: `${x}%`, width: `${w}%`, y: 8, height: 13, fill: fill || false });
  const isLast = i === line.attempts.length - 1;
  const note = noteMark(
    noteOf(line, attempt, isLast, laid),
    Math.max(to, x + w),
    isWait(line.cell.op) ? 12 : 6,
    line.attempts[i + 1],
    axis,
  );
  if (line.isUndo) return [box("m-undo"), box(false, "url(#t-undo-tr)"), ...note];
  if (isWait(line.cell.op)) {
    const isCause = line.cell === laid.cause;
    const end = isCause
      ? [
          s(
            "svg",
            { x: `${to}%` },
            s("circle", { class: "m-fail", r: 6.5, cy: 14.5 }),
            s("path", { class: "m-fail-x", d: "M-2.7 11.8l5.4 5.4M2.7 11.8l-5.4 5.4" }),
          ),
        ]
      : [];
    return [
      s("line", { class: "m-wait", x1: `${x}%`, x2: `${to}%`, y1: 14.5, y2: 14.5 }),
      ...end,
      ...(isCause ? note : []),
    ];
  }
  const isKnown = attempt.outcome === "succeeded" || (isLast && line.cell.shape === "growing");
  if (!isKnown && attempt.was_unknown) return [box("m-unk"), box(false, "url(#t-hatch)"), ...note];
  if (!isKnown)
    return [
      box("m-tried"),
      s("svg", { x: `${x + w}%` }, s("path", { class: "ck-no", d: "M-3 11l7 7M4 11l-7 7" })),
      ...note,
    ];
  return [box(line.cell.shape === "gone" ? "m-gone" : "m-do"), ...note];
}

/** Where there is room for it, up to the next bar or the edge. @param {string} said @param {number} x @param {number} dx @param {Traced | undefined} next @param {import("./squeezing.js").Axis} axis */
function noteMark(said, x, dx, next, axis) {
  const room = (next ? axis.x(Date.parse(next.from)) : 100) - x;
  if (!said || room < said.length * CHAR_W) return [];
  return [s("svg", { x: `${x}%` }, s("text", { class: "note-t", x: dx, y: 19 }, said))];
}

/** A few words beside a bar. @param {Line} line @param {Traced} attempt @param {boolean} isLast @param {Laid} laid */
function noteOf(line, attempt, isLast, laid) {
  if (line.isUndo)
    return attempt.outcome === "failed" ? "refused" : isLast || attempt.outcome === "undone" ? "" : "again";
  if (line.cell === laid.cause && isLast)
    return (laid.ended ? reasonOf(laid.outline.error) : "") || reasonOf(attempt.note);
  if (line.cell.op.was_unknown && attempt.outcome === "succeeded") return "found by its key";
  if (attempt.outcome !== "succeeded" && attempt.note) return reasonOf(attempt.note).slice(0, 28);
  return "";
}

/** From each undo to what it takes back, nested so that none crosses. @param {Line[]} lines */
function brackets(lines) {
  const pairs = lines
    .flatMap((line, to) => {
      if (!line.isUndo) return [];
      const from = lines.findIndex((other) => !other.isUndo && other.cell === line.cell);
      return from < 0 ? [] : [{ from, to, span: Math.abs(to - from) }];
    })
    .sort((one, other) => one.span - other.span);
  const step = Math.min(14, 30 / Math.max(1, pairs.length));
  const y = (/** @type {number} */ at) => HEAD_PX + 1 + at * (ROW_PX + 0) + ROW_PX / 2;
  const drawn = pairs.flatMap(({ from, to }, i) => {
    const x = 36 - i * step;
    return [
      s("path", { class: "br", d: `M50 ${y(to)}H${x}V${y(from)}H${BRACKETS_PX}` }),
      s("path", { class: "br-arrow", d: `M50 ${y(from)}l-7-4v8z` }),
    ];
  });
  return s(
    "svg",
    { class: "brackets", width: 52, height: HEAD_PX + lines.length * ROW_PX, "aria-hidden": "true" },
    ...drawn,
  );
}
