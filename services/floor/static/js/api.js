/**
 * The requests of the page. Every refusal becomes a `Refused` with the server's own words.
 */

export const PRODUCT = "/amends";
const PAGE_SIZE = 200;

export class Refused extends Error {
  /** @param {string} message @param {number} status 0: no answer came at all */
  constructor(message, status) {
    super(message.replace(/\.$/, "")); // Whoever shows it goes on behind it.
    this.status = status;
  }
}

/**
 * @param {string} path
 * @returns {Promise<any>}
 */
export function get(path) {
  return ask(path, {});
}

/**
 * @param {string} path
 * @param {object} body
 * @returns {Promise<any>}
 */
export function post(path, body) {
  return ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

/** @param {string} id */
export function sagaPath(id) {
  return `${PRODUCT}/v1/sagas/${encodeURIComponent(id)}`;
}

/**
 * The list, a page at a time, the newest first.
 * @param {Record<string, string | string[]>} filters
 * @param {number} most
 * @param {(outlines: import("./shapes.js").Outline[]) => void} onPage
 * @param {AbortSignal} [signal]
 */
export async function eachOutline(filters, most, onPage, signal) {
  let cursor = "";
  let left = most;
  while (left > 0) {
    const query = new URLSearchParams({ limit: String(Math.min(PAGE_SIZE, left)) });
    for (const [name, values] of Object.entries(filters))
      for (const value of [values].flat()) query.append(name, value);
    if (cursor) query.set("cursor", cursor);
    const page = await ask(`${PRODUCT}/v1/outlines?${query}`, { signal });
    onPage(page.outlines);
    left -= page.outlines.length;
    cursor = page.next_cursor ?? "";
    if (!cursor) return;
  }
}

/**
 * @param {string} path
 * @param {RequestInit} options
 */
async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { headers: { accept: "application/json" }, ...options });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refused("no connection to the server", 0);
  }
  const isJson = /json/.test(response.headers.get("content-type") ?? "");
  const body = isJson ? await response.json() : null;
  if (!response.ok)
    throw new Refused(body?.detail ?? body?.title ?? `the server answered ${response.status}`, response.status);
  return body;
}
