/**
 * Amounts come as text with two decimals and are counted in cents as BigInt: nothing is ever rounded.
 */

export const CURRENCY = "RM";

/**
 * @param {string | undefined | null} text
 * @returns {bigint}
 */
export function cents(text) {
  if (!text) return 0n;
  const [, sign, whole, part = ""] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text.trim()) ?? fail(text);
  if (part.length > 2 && /[1-9]/.test(part.slice(2))) fail(text);
  const value = BigInt(whole) * 100n + BigInt(part.padEnd(2, "0").slice(0, 2));
  return sign ? -value : value;
}

/**
 * 1,234.50, with a true minus sign.
 * @param {bigint} value
 */
export function amount(value) {
  const absolute = value < 0n ? -value : value;
  const text = `${grouped(absolute / 100n)}.${String(absolute % 100n).padStart(2, "0")}`;
  return value < 0n ? `−${text}` : text;
}

/** @param {string | undefined | null} text */
export function shown(text) {
  return amount(cents(text));
}

/** @param {string | undefined | null} text */
export function isZero(text) {
  return cents(text) === 0n;
}

/** @param {bigint | number} value */
export function grouped(value) {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** @param {string} text @returns {never} */
function fail(text) {
  throw new Error(`not an amount of money with two decimals: ${JSON.stringify(text)}`);
}
