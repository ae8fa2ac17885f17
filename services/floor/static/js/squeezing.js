/**
 * A time axis on which quiet stretches are squeezed: a journal holds milliseconds beside days. Pure.
 */

/** @typedef {{x: (at: number) => number, gaps: {x: number, w: number}[]}} Axis percentages */

const FLATTEN = 0.3; // the power that long stretches are brought down by
const GAP_RATIO = 1.5; // a stretch that was squeezed at least so much is drawn as a gap
const GAP_MIN_MS = 1_000;
const GAP_MIN_W = 7; // percent
const GAP_DRAWN = 0.45; // the part of the stretch that is greyed
const ROOM = 99; // percent: the last bar keeps its width

/**
 * @param {number[]} points the times at which something happened
 * @param {boolean} isSqueezed
 * @returns {Axis}
 */
export function axisOf(points, isSqueezed) {
  const sorted = [...new Set(points)].sort((one, other) => one - other);
  const total = Math.max(1, (sorted.at(-1) ?? 0) - (sorted[0] ?? 0));
  const weights = sorted.slice(1).map((at, i) => (isSqueezed ? (at - sorted[i] + 1) ** FLATTEN : at - sorted[i]));
  const sum = weights.reduce((all, one) => all + one, 0) || 1;
  const starts = [0];
  for (const weight of weights) starts.push(starts[starts.length - 1] + (ROOM * weight) / sum);
  const x = (/** @type {number} */ at) => {
    const i = Math.max(
      0,
      Math.min(
        sorted.length - 2,
        sorted.findLastIndex((one) => one <= at),
      ),
    );
    if (sorted.length < 2 || at <= sorted[0]) return 0;
    const part = Math.min(1, (at - sorted[i]) / Math.max(1, sorted[i + 1] - sorted[i]));
    return starts[i] + part * (starts[i + 1] - starts[i]);
  };
  const gaps = weights.flatMap((_, i) => {
    const [ms, w] = [sorted[i + 1] - sorted[i], starts[i + 1] - starts[i]];
    const isGap = isSqueezed && ms > GAP_MIN_MS && w > GAP_MIN_W && (ROOM * ms) / total > GAP_RATIO * w;
    return isGap ? [{ x: starts[i] + (w * (1 - GAP_DRAWN)) / 2, w: w * GAP_DRAWN }] : [];
  });
  return { x, gaps };
}

/**
 * Times to write under the axis: as many as have room, the first and the last among them.
 * @param {number[]} points
 * @param {Axis} axis
 * @param {number} room percent between two
 */
export function ticksOf(points, axis, room) {
  const sorted = [...new Set(points)].sort((one, other) => one - other);
  const last = sorted.at(-1);
  if (last === undefined) return [];
  /** @type {number[]} */
  const ticks = [];
  for (const at of sorted) {
    const x = axis.x(at);
    const isFree = ticks.every((other) => Math.abs(axis.x(other) - x) >= room);
    if (at === sorted[0] || at === last || (isFree && Math.abs(axis.x(last) - x) >= room)) ticks.push(at);
  }
  return ticks;
}
