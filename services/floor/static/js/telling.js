/**
 * Tell one saga in ten seconds: which moment of the journal is shown when, and what is said of it. Pure.
 *
 * Real times lie between milliseconds and weeks apart; the telling gives each moment the time that it takes to see it.
 */

import { isWait } from "./columns.js";
import { sentences } from "./sentences.js";

/** @typedef {import("./laying.js").Laid} Laid */
/** @typedef {import("./laying.js").Cell} Cell */
/** @typedef {import("./shapes.js").Attempt} Attempt */
/** @typedef {import("./shapes.js").Book} Book */
/** @typedef {Attempt & {sagaId: string}} Traced */
/**
 * Times of the telling, in seconds; undefined: that has not happened.
 * @typedef {{begun?: number, lost?: number, ended?: number, undoBegun?: number, undoEnded?: number}} Times
 * @typedef {{t: number, at: number, text: string}} Moment
 * @typedef {{moments: Moment[], times: Map<string, Times>, seams: {t: number, at: number, worker: string, path: string, isBack: boolean}[], foldT: number | null, end: number}} Tale
 * @typedef {{kind: "start"|"begun"|"lost"|"found"|"ended"|"failed"|"seam"|"fold"|"undoBegun"|"undoEnded"|"undoFailed"|"end"|"now",
 *   at: number, cell?: Cell, worker?: string, attempts?: number, note?: string}} Event
 */

const LONGEST_S = 10;
/** How long the eye needs before each kind of moment. */
const PAUSES = {
  start: 0,
  begun: 0.35,
  lost: 1,
  found: 0.9,
  ended: 0.55,
  failed: 0.7,
  seam: 0.8,
  fold: 0.6,
  undoBegun: 0.5,
  undoEnded: 0.8,
  undoFailed: 1,
  end: 0.5,
  now: 0.4,
};
const WAITED_S = 1.2;

/**
 * @param {Laid} laid
 * @param {Traced[]} attempts of the saga and of its children
 * @param {Book | undefined} book
 * @returns {Tale}
 */
export function tell(laid, attempts, book) {
  const events = eventsOf(laid, attempts);
  const seconds = timesOf(events);
  /** @type {Map<string, Times>} */
  const times = new Map();
  /** @type {Tale["seams"]} */
  const seams = [];
  let foldT = null;
  events.forEach((event, i) => {
    const t = seconds[i];
    if (event.kind === "fold") foldT = t;
    if (event.kind === "seam")
      seams.push({ t, at: event.at, worker: event.worker ?? "", ...placeOf(event.at, laid, attempts) });
    if (!event.cell) return;
    const known = times.get(event.cell.path) ?? {};
    times.set(event.cell.path, { ...known, ...timed(event, t) });
  });
  const moments = events
    .map((event, i) => ({ t: seconds[i], at: event.at, text: sentences(event, laid, book) }))
    .filter(({ text }) => text);
  return { moments, times, seams, foldT, end: (seconds.at(-1) ?? 0) + 0.6 };
}

/** What happened, in the order in which it happened. @param {Laid} laid @param {Traced[]} attempts @returns {Event[]} */
export function eventsOf(laid, attempts) {
  const { outline } = laid;
  const start = Date.parse(outline.started_at);
  /** @type {Event[]} */
  const events = [{ kind: "start", at: start }];
  for (const cell of laid.cells) events.push(...forward(cell, attempts, start), ...back(cell, attempts));
  for (const seam of distinct(outline.seams))
    events.push({ kind: "seam", at: Date.parse(seam.at), worker: seam.worker });
  const undos = events.filter(({ kind }) => kind === "undoBegun").map(({ at }) => at);
  if (laid.cause && undos.length) events.push({ kind: "fold", at: Math.min(...undos) - 0.01, cell: laid.cause });
  else if (laid.cause)
    events.push({ kind: "fold", at: Math.max(...events.map(({ at }) => at)) + 0.01, cell: laid.cause });
  const latest = Math.max(...events.map(({ at }) => at));
  if (outline.ended_at) events.push({ kind: "end", at: Math.max(latest, Date.parse(outline.ended_at)) });
  else events.push({ kind: "now", at: latest });
  return events
    .map((event, i) => ({ event, i }))
    .sort((one, other) => one.event.at - other.event.at || one.i - other.i)
    .map(({ event }) => event);
}

/** @param {Cell} cell @param {Traced[]} attempts @param {number} start @returns {Event[]} */
function forward(cell, attempts, start) {
  const own = attempts.filter((one) => one.sagaId === cell.sagaId && one.seq === cell.op.seq && one.undo_of === null);
  const at = own.length ? Date.parse(own[0].from) : start;
  const last = own.at(-1);
  const endedAt = last?.to ? Date.parse(last.to) : null;
  /** @type {Event[]} */
  const events = [{ kind: "begun", at, cell, attempts: own.length }];
  if (cell.op.was_unknown && cell.shape !== "unknown") {
    const lost = own.find((one) => one.outcome !== "succeeded");
    const lostAt = lost?.to
      ? Date.parse(lost.to)
      : own[1]
        ? Date.parse(own[1].from)
        : at + ((endedAt ?? at) - at) * 0.6;
    events.push({ kind: "lost", at: lostAt, cell });
    if (endedAt !== null && cell.shape !== "asking")
      events.push({ kind: "found", at: Math.max(endedAt - 0.02, lostAt), cell });
  }
  if (cell.op.state === "open" || endedAt === null) return events;
  const isOver = cell.shape === "failed" || cell.shape === "unknown";
  events.push({ kind: isOver ? "failed" : "ended", at: endedAt, cell, attempts: own.length, note: last?.note ?? "" });
  return events;
}

/** @param {Cell} cell @param {Traced[]} attempts @returns {Event[]} */
function back(cell, attempts) {
  const undo = cell.op.undo;
  const own = attempts.filter((one) => one.sagaId === cell.sagaId && one.undo_of === cell.op.seq);
  if (!undo || !own.length) return [];
  const last = /** @type {Traced} */ (own.at(-1));
  /** @type {Event[]} */
  const events = [{ kind: "undoBegun", at: Date.parse(own[0].from), cell, attempts: own.length }];
  if (undo.state === "undone") events.push({ kind: "undoEnded", at: Date.parse(last.to ?? last.from), cell });
  if (undo.state === "failed" || undo.state === "left")
    events.push({ kind: "undoFailed", at: Date.parse(last.to ?? last.from), cell, note: undo.error ?? last.note });
  return events;
}

/** Seconds of the telling: each kind of moment has its pause, and all together are no longer than one looks. @param {Event[]} events */
function timesOf(events) {
  let t = 0;
  const raw = events.map((event) => {
    const waited = event.kind === "ended" && event.cell && isWait(event.cell.op) ? WAITED_S : PAUSES[event.kind];
    t += waited;
    return t;
  });
  const scale = t > LONGEST_S ? LONGEST_S / t : 1;
  return raw.map((one) => one * scale);
}

/** @param {Event} event @param {number} t @returns {Times} */
function timed(event, t) {
  switch (event.kind) {
    case "begun":
      return { begun: t };
    case "lost":
      return { lost: t };
    case "ended":
    case "failed":
      return { ended: t };
    case "undoBegun":
      return { undoBegun: t };
    case "undoEnded":
    case "undoFailed":
      return { undoEnded: t };
    default:
      return {};
  }
}

/** Where the saga was at a time: at which step, forward or back. @param {number} at @param {Laid} laid @param {Traced[]} attempts */
function placeOf(at, laid, attempts) {
  const before = attempts.filter((one) => Date.parse(one.from) <= at);
  const latest = before.at(-1);
  const seq = latest?.undo_of ?? latest?.seq;
  const cell = laid.cells.find((one) => one.sagaId === latest?.sagaId && one.op.seq === seq) ?? laid.cells[0];
  return { path: cell?.path ?? "", isBack: latest?.undo_of !== null && latest !== undefined };
}

/** Several shards may change hands at once: one takeover of this saga is told once. @param {import("./shapes.js").Seam[]} seams */
function distinct(seams) {
  return seams.filter((seam, i) => !seams.slice(0, i).some((other) => other.takeover_id === seam.takeover_id));
}
