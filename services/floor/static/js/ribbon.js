/**
 * The ribbon of one row: from a saga that was laid into columns to marks, each with its place. Pure.
 *
 * x and w are percentages of the width, y and h pixels, so that nothing is scaled. The front of the ribbon is do, its back
 * is undo; it folds where it could not go on.
 */

import { isWait } from "./columns.js";

/** @typedef {import("./laying.js").Laid} Laid */
/** @typedef {import("./laying.js").Cell} Cell */
/**
 * `key` names the mark in the row, so that a later picture knows what is new. `dx` pixels from x.
 * @typedef {{mark: string, key: string, x: number, w?: number, y?: number, h?: number, dx?: number, n?: number, todo?: boolean}} Mark
 */

export const FRONT_Y = 7;
export const BACK_Y = 28;
export const BAND = 11;
const GAP = 0.25; // percent, between two bands
const OPEN = 0.435; // how far an open band reaches: it is not a progress bar
const ASKING = 0.605;
const FOLD_AT = { wait: 0.62, failed: 0.42, done: 0.8 };
const WAIT_TO = 0.5; // where a wait ends that was refused
const TORN_AT = 0.55;
const NOTCHES_MAX = 3;

/**
 * @param {Laid} laid
 * @returns {Mark[]}
 */
export function ribbon(laid) {
  const width = 100 / Math.max(1, laid.columns.length);
  const marks = [...frontMarks(laid, width)];
  if (laid.cause) marks.push(...backMarks(laid, laid.cause, width));
  marks.push(...pivotMarks(laid, width), ...endMarks(laid, width));
  return marks;
}

/** Where a takeover's stitches cross this row. @param {Laid} laid @param {number | null} seq of its own operations */
export function seamX(laid, seq) {
  const width = 100 / Math.max(1, laid.columns.length);
  if (seq === null) return 0.4;
  const own = laid.cells.filter((cell) => cell.sagaId === laid.outline.id && cell.op.seq <= seq);
  const cell = own.at(-1);
  return cell ? (cell.column + (isWait(cell.op) ? 0.3 : 0.36)) * width : 0.4;
}

/** Whether it uses only the upper track: then a narrow row may be flatter. @param {Laid} laid */
export function isFlat(laid) {
  return laid.cause === null;
}

/** Where the fold begins, in columns. @param {Cell} cause */
export function foldOf(cause) {
  if (isWait(cause.op)) return cause.column + FOLD_AT.wait;
  return cause.column + (cause.shape === "failed" || cause.shape === "dropped" ? FOLD_AT.failed : FOLD_AT.done);
}

/** @param {Laid} laid @param {number} width @returns {Mark[]} */
function frontMarks(laid, width) {
  /** @type {Mark[]} */
  const marks = [];
  let front = 0;
  for (const cell of laid.cells) {
    const isCause = cell === laid.cause;
    const found = isWait(cell.op)
      ? waitMarks(cell, width, isCause)
      : bandMarks(cell, width, isCause ? foldOf(cell) * width : null);
    marks.push(...found.marks);
    front = Math.max(front, found.front);
  }
  if (!laid.cause && !laid.ended && front < 99)
    marks.unshift({ mark: "rail", key: "rail", x: front + 1, w: 98.5 - front });
  return marks;
}

/** @param {Cell} cell @param {number} width @param {boolean} isCause */
function waitMarks(cell, width, isCause) {
  const x = cell.column * width;
  const key = `wait ${cell.path}`;
  if (isCause) return { marks: [{ mark: "wait", key, x, w: WAIT_TO * width }], front: x + WAIT_TO * width };
  if (cell.shape === "waiting") {
    const w = 0.42 * width;
    return {
      marks: [
        { mark: "wait", key, x, w },
        { mark: "dot", key: `dot ${cell.path}`, x: x + w },
      ],
      front: x + w,
    };
  }
  return { marks: [{ mark: "wait", key, x, w: width - GAP }], front: x + width };
}

/** @param {Cell} cell @param {number} width @param {number | null} foldX */
function bandMarks(cell, width, foldX) {
  const x = cell.column * width;
  const h = (BAND - (cell.lanes - 1)) / cell.lanes;
  const y = FRONT_Y + cell.lane * (h + 1);
  const whole = foldX === null ? width - GAP : Math.min(width - GAP, foldX - x);
  const at = { key: `band ${cell.path}`, x, y, h };
  /** @type {Mark[]} */
  let marks = [];
  let front = x + width;
  switch (cell.shape) {
    case "done":
      marks = [{ mark: "done", ...at, w: whole }];
      break;
    case "gone":
      marks = [{ mark: "gone", ...at, w: whole }];
      break;
    case "unknown":
      marks = [{ mark: "unknown", ...at, w: whole }];
      break;
    case "growing":
      marks = [{ mark: "growing", ...at, w: OPEN * width }];
      front = x + OPEN * width;
      break;
    case "asking":
      front = x + ASKING * width;
      marks = [
        { mark: "unknown", ...at, w: front - x },
        { mark: "ask", key: `ask ${cell.path}`, x: front, y: y - FRONT_Y },
      ];
      front += 4;
      break;
    case "torn":
      marks = [
        { mark: "torn", key: `torn ${cell.path}`, x, dx: 4, y: y - 27 },
        { mark: "stuck", key: `stuck ${cell.path}`, x, dx: 9, y: 5.5 },
      ];
      front = x + 0.3 * width;
      break;
    default:
      front = x;
  }
  if (cell.op.was_unknown && (cell.shape === "done" || cell.shape === "gone")) {
    marks.push({ mark: "was", key: `was ${cell.path}`, x, w: 0.42 * width, y: y + h - 4, h: 4 });
  }
  if (cell.shape === "done" || cell.shape === "gone" || cell.shape === "unknown")
    marks.push(...notches(cell, x, whole, y));
  return { marks, front };
}

/** @param {Cell} cell @param {number} x @param {number} w @param {number} y @returns {Mark[]} */
function notches(cell, x, w, y) {
  const again = cell.op.attempts - 1;
  if (again < 1) return [];
  if (again > NOTCHES_MAX)
    return [{ mark: "notch", key: `notch ${cell.path}`, x: x + w / 2, y: y - FRONT_Y, n: again }];
  return Array.from({ length: again }, (_, i) => ({
    mark: "notch",
    key: `notch ${i} ${cell.path}`,
    x: x + ((i + 1) * w) / (again + 1),
    y: y - FRONT_Y,
  }));
}

/** @param {Laid} laid @param {Cell} cause @param {number} width @returns {Mark[]} */
function backMarks(laid, cause, width) {
  const foldX = foldOf(cause) * width;
  const no = { mark: "no", key: "no", x: foldX, dx: -13 };
  if (laid.ended && !anyBack(laid)) return [{ ...no, dx: 8 }]; // It stopped, and there was nothing to take back.
  const isAlone = laid.foldFrom > 0; // A child took itself back, and its order stands.
  /** @type {Mark[]} */
  const marks = [{ mark: "fold", key: "fold", x: foldX }, no];
  let reached = true;
  for (let column = cause.column; column >= laid.foldFrom; column -= 1) {
    const x = column * width;
    const w = column === cause.column ? foldX - x : width - GAP;
    const cells = laid.cells.filter((cell) => cell.column === column);
    const undone = cells.filter(({ op }) => op.undo !== null);
    if (!undone.length) {
      const waits = cells.some((cell) => cell.shape === "done" || cell.shape === "unknown") && !laid.ended && !isAlone;
      /** @type {boolean} */
      const through = reached && !waits;
      marks.push({ mark: through ? "through" : "todo", key: `back ${column}`, x, w });
      if (!through && waits) marks.push({ mark: "tie", key: `tie ${column}`, x: x + width / 2, todo: true });
      reached = through;
      continue;
    }
    for (const cell of undone) {
      marks.push(...undoMarks(cell, x, w, width));
      if (cell.op.undo?.state === "open" || cell.op.undo?.state === "failed") reached = false;
    }
  }
  if (isAlone && laid.status === "stuck") marks.push({ mark: "stuck", key: "stuck", x: foldX, dx: 22, y: 16 });
  return marks;
}

/** @param {Laid} laid */
function anyBack(laid) {
  return laid.cells.some(({ op }) => op.undo !== null);
}

/** @param {Cell} cell @param {number} x @param {number} w @param {number} width @returns {Mark[]} */
function undoMarks(cell, x, w, width) {
  const h = (BAND - (cell.lanes - 1)) / cell.lanes;
  const y = BACK_Y + (cell.lanes - 1 - cell.lane) * (h + 1);
  const at = { y, h };
  const tie = { mark: "tie", key: `tie ${cell.path}`, x: x + width / 2 };
  const turn = x + w * TORN_AT;
  switch (cell.op.undo?.state) {
    case "undone":
      return [{ mark: "undo", key: `undo ${cell.path}`, x, w, ...at }, tie];
    case "left":
      return [
        { mark: "todo", key: `left ${cell.path}`, x, w, ...at },
        { ...tie, todo: true },
      ];
    case "failed":
      return [
        { mark: "todo", key: `todo ${cell.path}`, x, w: turn - x, ...at },
        { mark: "undo", key: `undo ${cell.path}`, x: turn, w: x + w - turn, ...at },
        { mark: "torn", key: `torn ${cell.path}`, x: turn, y: y - BACK_Y },
        { mark: "stuck", key: `stuck ${cell.path}`, x: turn, dx: -24, y: y - 1.5 },
        { ...tie, todo: true },
      ];
    default:
      return [
        { mark: "todo", key: `todo ${cell.path}`, x, w: w * 0.45, ...at },
        { mark: "undo", key: `undo ${cell.path}`, x: x + w * 0.45, w: w * 0.55, ...at },
        { ...tie, todo: true },
      ];
  }
}

/** @param {Laid} laid @param {number} width @returns {Mark[]} */
function pivotMarks(laid, width) {
  if (laid.pivotAt === null || laid.foldFrom < laid.pivotAt || !laid.columns.length) return [];
  const isSet = laid.outline.pivot_seq !== null;
  if (!isSet && laid.ended) return [];
  return [{ mark: isSet ? "pivot-set" : "pivot", key: "pivot", x: Math.min(laid.pivotAt * width, 99.2) }];
}

/** @param {Laid} laid @param {number} width @returns {Mark[]} */
function endMarks(laid, width) {
  const last = Math.max(-1, ...laid.cells.map(({ column }) => column));
  const x = (last + 1) * width - 2 * GAP;
  if (laid.status === "completed") return last < 0 ? [] : [{ mark: "end", key: "end", x }];
  if (laid.status === "terminated") return last < 0 ? [] : [{ mark: "cut", key: "end", x }];
  if (laid.status === "blocked") return [{ mark: "blocked", key: "blocked", x: last < 0 ? 1 : x }];
  const isBack = laid.allBack && anyBack(laid) && (laid.ended || laid.foldFrom > 0);
  return isBack ? [{ mark: "end-back", key: "end", x: laid.foldFrom * width }] : [];
}
