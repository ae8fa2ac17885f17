/**
 * A few choices that outlive the visit. Storage may be off: then they do not, and nothing else changes.
 */

const PREFIX = "amends.";

/** @param {string} name @returns {string} */
export function kept(name) {
  try {
    return localStorage.getItem(PREFIX + name) ?? "";
  } catch {
    return "";
  }
}

/** @param {string} name @param {string} value */
export function keep(name, value) {
  try {
    localStorage.setItem(PREFIX + name, value);
  } catch {
    // Storage is off.
  }
}
