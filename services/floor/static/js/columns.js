/**
 * Which columns a type of saga has: its steps in order. Known for the shop's types, learnt from runs for all others.
 *
 * A column is a step, not a time: rows of one type compare at a glance, and an undo finds its place beneath its do.
 * A child's own steps stand where the child is.
 */

import { labelOf } from "./labels.js";

/** @typedef {import("./shapes.js").Outline} Outline */
/** @typedef {import("./shapes.js").Op} Op */
/** `paths`: the steps that share the column, more than one if they run side by side. @typedef {{paths: string[], label: string}} Column */
/** @typedef {{keys: string[], pivotAfter: string | null, beside: Map<string, string>}} Steps */

const DRAWN = new Set(["call", "step", "transaction", "child", "receive", "sleep"]);
const WAITS = new Set(["receive", "sleep"]);
const KEYS_MAX = 16; // What comes later shares the last column: narrower ones could not be read.
const DEPTH_MAX = 3; // A child's child is drawn, its child's child is one band.

export class Columns {
  /** @param {Record<string, {keys: string[], pivotAfter: string}>} declared */
  constructor(declared) {
    /** @type {Map<string, Steps>} */
    this.types = new Map();
    /** @type {Map<string, {columns: Column[], pivotAt: number | null}>} */
    this.made = new Map();
    for (const [type, { keys, pivotAfter }] of Object.entries(declared)) {
      this.types.set(type, { keys: [...keys], pivotAfter, beside: new Map() });
    }
  }

  /**
   * Whether this run taught something new.
   * @param {Outline} outline
   */
  learn(outline) {
    const steps = this.types.get(outline.type) ?? { keys: [], pivotAfter: null, beside: new Map() };
    this.types.set(outline.type, steps);
    const drawn = drawnOps(outline);
    const isNew = [addKeys(steps, drawn), addPivot(steps, drawn, outline.pivot_seq), addBeside(steps, drawn)].some(
      Boolean,
    );
    if (isNew) this.made.clear();
    return isNew;
  }

  /**
   * The columns of a type, and before which of them there is no way back.
   * @param {string} type
   */
  of(type) {
    let made = this.made.get(type);
    if (!made) {
      made = this.#make(type);
      this.made.set(type, made);
    }
    return made;
  }

  /** @param {string} type */
  #make(type) {
    const leaves = this.#leaves(type, "", 0);
    /** @type {Column[]} */
    const columns = [];
    for (const leaf of leaves) {
      const last = columns.at(-1);
      if (last && leaf.beside && last.paths[0].endsWith(leaf.beside)) last.paths.push(leaf.path);
      else columns.push({ paths: [leaf.path], label: labelOf(leaf.key).column });
    }
    const { pivotAfter } = this.types.get(type) ?? { pivotAfter: null };
    if (pivotAfter === null) return { columns, pivotAt: null };
    const before = columns.findLastIndex((column) =>
      column.paths.some((path) => path === pivotAfter || path.startsWith(`${pivotAfter}/`)),
    );
    return { columns, pivotAt: before + 1 };
  }

  /**
   * @param {string} type
   * @param {string} prefix
   * @param {number} depth
   * @returns {{path: string, key: string, beside: string | undefined}[]}
   */
  #leaves(type, prefix, depth) {
    const steps = this.types.get(type);
    if (!steps) return [];
    return steps.keys.flatMap((key) => {
      const child = key.startsWith("child:") && depth < DEPTH_MAX ? key.slice(6).split("#")[0] : "";
      const inner = child && child !== type ? this.#leaves(child, `${prefix}${key}/`, depth + 1) : [];
      return inner.length ? inner : [{ path: prefix + key, key, beside: steps.beside.get(key) }];
    });
  }
}

/**
 * The operations that are drawn, each with its key. One that failed and comes again is the same step, tried again.
 * @param {Outline} outline
 * @returns {{key: string, op: Op}[]}
 */
export function drawnOps(outline) {
  /** @type {Map<string, {times: number, latest: {key: string, op: Op}}>} */
  const seen = new Map();
  /** @type {{key: string, op: Op}[]} */
  const drawn = [];
  for (const op of outline.ops) {
    if (!DRAWN.has(op.kind)) continue;
    const base = op.kind === "sleep" ? "sleep:" : `${op.kind}:${op.name}`;
    const before = seen.get(base);
    if (before && isTriedAgain(before.latest.op)) {
      before.latest.op = { ...op, attempts: before.latest.op.attempts + op.attempts };
      continue;
    }
    const times = (before?.times ?? 0) + 1;
    const one = { key: times > 1 ? `${base}#${times}` : base, op };
    seen.set(base, { times, latest: one });
    drawn.push(one);
  }
  return drawn;
}

/** @param {Op} op */
export function isWait(op) {
  return WAITS.has(op.kind);
}

/** @param {Op} op */
function isTriedAgain(op) {
  return (op.state === "failed" || op.state === "settled") && op.undo === null;
}

/** @param {Steps} steps @param {{key: string}[]} drawn */
function addKeys(steps, drawn) {
  let at = -1;
  let isNew = false;
  for (const { key } of drawn) {
    const known = steps.keys.indexOf(key);
    if (known >= 0) {
      at = Math.max(at, known);
    } else if (steps.keys.length < KEYS_MAX) {
      steps.keys.splice(++at, 0, key);
      isNew = true;
    }
  }
  return isNew;
}

/** @param {Steps} steps @param {{key: string, op: Op}[]} drawn @param {number | null} pivotSeq */
function addPivot(steps, drawn, pivotSeq) {
  if (pivotSeq === null || steps.pivotAfter !== null) return false;
  steps.pivotAfter = drawn.findLast(({ op }) => op.seq <= pivotSeq)?.key ?? "";
  return true;
}

/** What is asked at the same time runs side by side. @param {Steps} steps @param {{key: string, op: Op}[]} drawn */
function addBeside(steps, drawn) {
  const open = drawn.filter(({ op }) => op.state === "open" && !isWait(op) && op.undo === null);
  let isNew = false;
  for (const { key } of open.slice(1)) {
    if (steps.beside.has(key)) continue;
    steps.beside.set(key, open[0].key);
    isNew = true;
  }
  return isNew;
}
