/**
 * Times as people read them. The server's clock counts: `now()` is ours, moved by what the server's was last seen to be.
 */

const SKEW_SHOWN_MS = 2_000;

let skewMs = 0;

/** The server's time in milliseconds, as far as we know it. */
export function now() {
  return Date.now() + skewMs;
}

/**
 * The server said what time it is. A message takes a while, so only a clear difference moves the clock.
 * @param {string | undefined} asOf
 */
export function serverSaid(asOf) {
  const at = asOf ? Date.parse(asOf) : NaN;
  if (!Number.isNaN(at)) skewMs = Math.abs(at - Date.now()) > SKEW_SHOWN_MS ? at - Date.now() : 0;
}

/** By how much this machine's clock is wrong, if it is worth a line; else 0. */
export function skew() {
  return skewMs;
}

/**
 * 14:03:35, or with `digits` of a second.
 * @param {number | string} at
 * @param {number} [digits]
 */
export function clock(at, digits = 0) {
  const date = new Date(at);
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const base = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return digits ? `${base}.${String(date.getMilliseconds()).padStart(3, "0").slice(0, digits)}` : base;
}

/**
 * 12 ms, 0.41 s, 18.5 s, 3 min, 2 h.
 * @param {number} ms
 */
export function took(ms) {
  if (ms < 100) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 120_000) return `${(ms / 1000).toFixed(1)} s`;
  return since(ms);
}

/**
 * For what lasts: 52 s, 6 min, 3 h, 2 days.
 * @param {number} ms
 */
export function since(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 100) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} days`;
}
