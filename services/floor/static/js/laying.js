/**
 * Lay a saga into the columns of its type: which band stands where, where it folds, and how it stands as a whole.
 *
 * A child's operations are laid in its parent's row, and a child that is stuck makes the row stuck: that is what a person
 * who looks at the order must see.
 */

import { drawnOps, isWait } from "./columns.js";

/** @typedef {import("./shapes.js").Outline} Outline */
/** @typedef {import("./shapes.js").Op} Op */
/** @typedef {import("./shapes.js").Status} Status */
/** @typedef {import("./columns.js").Columns} Columns */
/** @typedef {import("./columns.js").Column} Column */
/**
 * done: it holds; gone: taken back; growing: asked, no answer; asking: the answer was lost and is looked up; unknown: it
 * ended so; failed: it did not happen; waiting, waited: a wait; dropped: nobody waits for it any more.
 * @typedef {"done"|"gone"|"growing"|"asking"|"unknown"|"failed"|"waiting"|"waited"|"dropped"|"torn"} Shape
 * @typedef {{path: string, key: string, sagaId: string, op: Op, shape: Shape, column: number, lane: number, lanes: number}} Cell
 * @typedef {{outline: Outline, status: Status, stuckId: string, columns: Column[], pivotAt: number | null, cells: Cell[],
 *   at: Map<string, Cell>, foldAt: number, foldFrom: number, cause: Cell | null, ended: boolean, allBack: boolean}} Laid
 */

const ENDED = new Set(["completed", "failed", "cancelled", "terminated"]);
const FOLDED = new Set(["compensating", "failed", "cancelled"]);
const WORSE = ["blocked", "stuck"];

/**
 * @param {Outline} outline
 * @param {Columns} columns
 * @param {(id: string) => Outline | undefined} find children that are known
 * @returns {Laid}
 */
export function lay(outline, columns, find) {
  const of = columns.of(outline.type);
  const placed = placesOf(of.columns);
  const cells = collect(outline, "", placed, find);
  const { status, stuckId } = standing(outline, cells, find);
  const own = cells.filter(({ sagaId }) => sagaId === outline.id);
  const folded = FOLDED.has(outline.status) || own.some(({ op }) => op.undo !== null);
  // A child may have taken itself back while its order only goes forward: then it folds within its own columns.
  const inner = folded
    ? []
    : cells.filter(
        (cell) =>
          cell.sagaId !== outline.id && cells.some(({ sagaId, op }) => sagaId === cell.sagaId && op.undo !== null),
      );
  const cause = folded ? causeOf(cells) : causeOf(inner);
  return {
    outline,
    status,
    stuckId,
    columns: of.columns,
    pivotAt: of.pivotAt,
    cells,
    at: new Map(cells.map((cell) => [cell.path, cell])),
    foldAt: cause ? cause.column : -1,
    foldFrom: Math.min(...inner.map(({ column }) => column), folded ? 0 : Infinity),
    cause,
    ended: ENDED.has(outline.status),
    allBack:
      cause !== null && (folded ? cells : inner).every(({ op }) => op.undo === null || op.undo.state === "undone"),
  };
}

/** Which group of the list it belongs to. @param {Status} status */
export function groupOf(status) {
  if (status === "stuck" || status === "blocked") return "needs";
  if (status === "queued" || status === "running") return "running";
  if (status === "compensating") return "undoing";
  return status === "completed" ? "completed" : "undone";
}

/** How it stands, its open children included. @param {Outline} outline @param {(id: string) => Outline | undefined} find @returns {{status: Status, stuckId: string}} */
export function statusWith(outline, find) {
  if (ENDED.has(outline.status) || WORSE.includes(outline.status))
    return { status: outline.status, stuckId: outline.id };
  for (const op of outline.ops) {
    const child = op.kind === "child" && op.child_id ? find(op.child_id) : undefined;
    const inner = child && child !== outline ? statusWith(child, find) : undefined;
    if (inner && WORSE.includes(inner.status)) return inner;
  }
  return { status: outline.status, stuckId: outline.id };
}

/** @param {Outline} outline @param {Cell[]} cells @param {(id: string) => Outline | undefined} find */
function standing(outline, cells, find) {
  const found = statusWith(outline, find);
  if (found.status === "stuck") {
    const torn = cells.findLast(
      ({ op, sagaId }) => sagaId === found.stuckId && op.state === "open" && !op.undo && !isWait(op),
    );
    if (torn) torn.shape = "torn";
  }
  return found;
}

/** @param {Column[]} columns */
function placesOf(columns) {
  /** @type {Map<string, {column: number, lane: number, lanes: number}>} */
  const places = new Map();
  columns.forEach(({ paths }, column) =>
    paths.forEach((path, lane) => places.set(path, { column, lane, lanes: paths.length })),
  );
  return places;
}

/**
 * @param {Outline} outline
 * @param {string} prefix
 * @param {Map<string, {column: number, lane: number, lanes: number}>} places
 * @param {(id: string) => Outline | undefined} find
 * @returns {Cell[]}
 */
function collect(outline, prefix, places, find) {
  /** @type {Cell[]} */
  const cells = [];
  for (const { key, op } of drawnOps(outline)) {
    const path = prefix + key;
    const child = op.kind === "child" && op.child_id ? find(op.child_id) : undefined;
    const inner = child ? collect(child, `${path}/`, places, find) : [];
    if (inner.length) {
      cells.push(...inner);
      continue;
    }
    const place = places.get(path) ??
      firstUnder(path, places) ?? { column: Math.max(0, lastColumn(places)), lane: 0, lanes: 1 };
    cells.push({ path, key, sagaId: outline.id, op, shape: shapeOf(op, outline), ...place });
  }
  return cells;
}

/** A child of which nothing is known yet stands where its first step will. @param {string} path @param {Map<string, {column: number, lane: number, lanes: number}>} places */
function firstUnder(path, places) {
  for (const [known, place] of places) if (known.startsWith(`${path}/`)) return place;
  return undefined;
}

/** @param {Map<string, {column: number}>} places */
function lastColumn(places) {
  return Math.max(...[...places.values()].map(({ column }) => column), -1);
}

/** @param {Op} op @param {Outline} outline @returns {Shape} */
function shapeOf(op, outline) {
  if (op.undo?.state === "undone") return "gone";
  if (isWait(op)) return op.state === "open" && !ENDED.has(outline.status) ? "waiting" : "waited";
  switch (op.state) {
    case "succeeded":
      return "done";
    case "open":
      return op.was_unknown || op.undo ? "asking" : "growing";
    case "unknown":
      return "unknown";
    case "settled":
      return op.undo ? "unknown" : "dropped";
    default:
      return op.undo ? "unknown" : "failed";
  }
}

/** Where it could not go on: what failed last, else what it had reached. @param {Cell[]} cells */
function causeOf(cells) {
  if (!cells.length) return null;
  return cells.reduce((latest, cell) => (cell.column >= latest.column ? cell : latest));
}
