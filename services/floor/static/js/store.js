/**
 * What the page knows: plain records, patched by the streams. Patches are collected and applied once a frame.
 *
 * Rows are kept in the order of the list, the newest first, without anything of the DOM. A view subscribes and is told
 * what changed; what it does not show costs it nothing.
 */

import { Columns } from "./columns.js";
import { DECLARED } from "./labels.js";
import { groupOf, statusWith } from "./laying.js";
import { serverSaid } from "./clock.js";

/** @typedef {import("./shapes.js").Outline} Outline */
/** @typedef {{sagas: Set<string>, before: Map<string, Outline | undefined>, books: Set<string>, parts: Set<string>, rows: boolean, columns: boolean}} Changes */

export const ROWS_MAX = 5_000;
const PACE_MAX = 60;
const HIDDEN_MS = 1_000; // A hidden page gets no frames.

export class Store {
  constructor() {
    /** @type {Map<string, Outline>} */
    this.outlines = new Map();
    /** @type {string[]} */
    this.order = [];
    /** @type {Map<string, string>} */
    this.groups = new Map();
    /** @type {Map<string, string>} */
    this.sinceStuck = new Map();
    /** @type {Map<string, import("./shapes.js").Book>} */
    this.books = new Map();
    /** @type {import("./shapes.js").Totals | null} */
    this.totals = null;
    /** @type {import("./shapes.js").Plug[]} */
    this.plugs = [];
    /** @type {import("./shapes.js").Breaker | null} */
    this.breaker = null;
    /** @type {import("./shapes.js").Pace[]} */
    this.pace = [];
    this.gateway = "well";
    this.perS = 0;
    this.adriftSince = 0;
    /** loading, empty-handed only at the very start; then live, or lost since a time. */
    this.isLoaded = false;
    this.hasBooks = false;
    /** @type {{sagas: boolean, floor: boolean, lostAt: number}} */
    this.connection = { sagas: false, floor: false, lostAt: 0 };
    this.mayOperate = true;
    this.columns = new Columns(DECLARED);
    /** @type {Map<string, Outline>} */
    this.waiting = new Map();
    /** @type {(() => void)[]} */
    this.patches = [];
    /** @type {Set<(changes: Changes) => void>} */
    this.listeners = new Set();
    this.isDue = false;
    this.changes = noChanges();
    this.find = (/** @type {string} */ id) => this.outlines.get(id);
  }

  /** Be told after each frame in which something changed. Returns how to stop. @param {(changes: Changes) => void} listener */
  subscribe(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** A saga as it is now. An older picture of it than we have is dropped. @param {Outline} outline */
  putOutline(outline) {
    const waiting = this.waiting.get(outline.id);
    if (waiting && waiting.turns > outline.turns) return;
    this.waiting.set(outline.id, outline);
    this.#schedule();
  }

  /** Anything else. `part` names what changed. @param {string} part @param {() => void} apply */
  patch(part, apply) {
    this.patches.push(() => {
      apply();
      this.changes.parts.add(part);
    });
    this.#schedule();
  }

  /** @param {import("./shapes.js").Book[]} books @param {import("./shapes.js").Totals} totals */
  putBooks(books, totals) {
    this.patch("books", () => {
      for (const book of books) {
        this.books.set(book.saga_id, book);
        this.changes.books.add(book.saga_id);
      }
      this.totals = totals;
      this.hasBooks = true;
      serverSaid(totals.as_of);
      const isAdrift = /[1-9]/.test(totals.adrift) || totals.adrift_orders.length > 0;
      if (!isAdrift) this.adriftSince = 0;
      else if (!this.adriftSince) this.adriftSince = Date.parse(totals.as_of) || Date.now();
    });
  }

  /** @param {import("./shapes.js").Pace} point */
  putPace(point) {
    this.patch("pace", () => {
      this.pace.push(point);
      if (this.pace.length > PACE_MAX) this.pace.splice(0, this.pace.length - PACE_MAX);
    });
  }

  /** How many rows are in each group. */
  counts() {
    const counts = { all: this.order.length, needs: 0, running: 0, undoing: 0, completed: 0, undone: 0 };
    for (const id of this.order) counts[/** @type {keyof typeof counts} */ (this.groups.get(id))] += 1;
    return counts;
  }

  /** Those that wait for a person, as the desk lists them: the saga itself, be it a child. */
  needing() {
    return [...this.outlines.values()].filter(({ status }) => status === "stuck" || status === "blocked");
  }

  /** The root of a child, as far as it is known. @param {string} id */
  rootOf(id) {
    let found = this.outlines.get(id);
    for (let depth = 0; found?.parent_id && depth < 5; depth += 1)
      found = this.outlines.get(found.parent_id) ?? undefined;
    return found?.id ?? id;
  }

  #schedule() {
    if (this.isDue) return;
    this.isDue = true;
    if (document.hidden) setTimeout(() => this.#flush(), HIDDEN_MS);
    else requestAnimationFrame(() => this.#flush());
  }

  #flush() {
    this.isDue = false;
    for (const apply of this.patches.splice(0)) apply();
    const outlines = [...this.waiting.values()];
    this.waiting.clear();
    for (const outline of outlines) this.#apply(outline);
    this.#trim();
    const changes = this.changes;
    this.changes = noChanges();
    for (const listener of this.listeners) listener(changes);
  }

  /** @param {Outline} outline */
  #apply(outline) {
    const before = this.outlines.get(outline.id);
    if (before && before.turns > outline.turns) return;
    this.outlines.set(outline.id, outline);
    this.changes.sagas.add(outline.id);
    this.changes.before.set(outline.id, before);
    if (this.columns.learn(outline)) this.changes.columns = true;
    if (outline.parent_id) {
      const root = this.outlines.get(this.rootOf(outline.id));
      if (root && !root.parent_id) {
        this.changes.sagas.add(root.id);
        this.#group(root);
      }
      return;
    }
    if (!before) this.#insert(outline);
    this.#group(outline);
  }

  /** @param {Outline} outline */
  #group(outline) {
    const group = groupOf(statusWith(outline, this.find).status);
    if (this.groups.get(outline.id) === group) return;
    this.groups.set(outline.id, group);
    this.changes.rows = true;
  }

  /** @param {Outline} outline */
  #insert(outline) {
    let low = 0;
    let high = this.order.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isNewer(/** @type {Outline} */ (this.outlines.get(this.order[middle])), outline)) low = middle + 1;
      else high = middle;
    }
    this.order.splice(low, 0, outline.id);
    this.changes.rows = true;
  }

  /** Beyond what is kept, the oldest that has ended goes: it can still be found on the server. */
  #trim() {
    for (let at = this.order.length - 1; at >= 0 && this.order.length > ROWS_MAX; at -= 1) {
      const id = this.order[at];
      const group = this.groups.get(id);
      if (group !== "completed" && group !== "undone") continue;
      this.order.splice(at, 1);
      this.groups.delete(id);
      for (const op of this.outlines.get(id)?.ops ?? []) if (op.child_id) this.outlines.delete(op.child_id);
      this.outlines.delete(id);
      this.books.delete(id);
      this.changes.rows = true;
    }
  }
}

/** @param {Outline} one @param {Outline} other */
function isNewer(one, other) {
  return one.started_at === other.started_at ? one.id > other.id : one.started_at > other.started_at;
}

/** @returns {Changes} */
function noChanges() {
  return { sagas: new Set(), before: new Map(), books: new Set(), parts: new Set(), rows: false, columns: false };
}
