/**
 * The list: thousands of sagas as plain records, a window of them as rows. Rows have one height, so that a place in the
 * list is a multiplication; the few event rows between them are counted.
 */

import { h, icon } from "./dom.js";
import { Row } from "./row.js";
import { drawStitches } from "./stitches.js";

/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./takeovers.js").Takeovers} Takeovers */
/** @typedef {import("./takeovers.js").Takeover} Takeover */
/** @typedef {{at: number, takeover: Takeover}} Event an event row, above the row with the number `at` */

const BEYOND = 8; // rows drawn on either side of the window
const ROW_PX = 46;
const ROW_NARROW_PX = 122;
const EVENT_PX = 26;
const EVENT_NARROW_PX = 64;
const SEAM_NARROW_PX = 30;
const CALM_PER_S = 20; // with more changes a second nothing moves

export class List {
  /** @param {Store} store @param {Takeovers} takeovers @param {{onAnswer: import("./row.js").OnAnswer, tell: (takeover: Takeover) => (string | Node)[]}} does */
  constructor(store, takeovers, does) {
    this.store = store;
    this.takeovers = takeovers;
    this.does = does;
    /** @type {string[]} */
    this.ids = [];
    /** @type {Event[]} */
    this.events = [];
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    /** @type {Map<Takeover, HTMLElement>} */
    this.eventRows = new Map();
    this.current = "";
    this.inner = h("div", { class: "rows-inner" });
    this.element = h("div", { class: "rows", role: "rowgroup", tabindex: "-1" }, this.inner);
    this.narrow = matchMedia("(max-width: 720px)");
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    /** @type {number[]} */
    this.changedAt = [];
    const redraw = () => this.drawWindow();
    this.element.addEventListener("scroll", redraw, { passive: true });
    addEventListener("scroll", redraw, { passive: true });
    addEventListener("resize", redraw);
    this.inner.addEventListener("focusin", (event) => {
      const row = /** @type {HTMLElement} */ (event.target).closest(".row");
      if (row instanceof HTMLElement) this.choose(row.dataset.id ?? "");
    });
    this.inner.addEventListener("click", (event) => this.#open(event));
  }

  get rowPx() {
    return this.narrow.matches ? ROW_NARROW_PX : ROW_PX;
  }

  get eventPx() {
    return this.narrow.matches ? EVENT_NARROW_PX : EVENT_PX;
  }

  /** Whether the top of the list is in view. */
  isAtTop() {
    return this.#scrolled() < this.rowPx / 2;
  }

  /** Show these. What was in view stays where it is, unless the list is at its top. @param {string[]} ids @param {boolean} keep */
  show(ids, keep) {
    const anchor = keep ? this.#anchor() : null;
    this.ids = ids;
    this.#placeEvents();
    this.inner.style.setProperty("height", `${this.#height()}px`);
    if (anchor) this.#scrollTo(this.#topOf(Math.max(0, ids.indexOf(anchor.id))) + anchor.offset);
    this.drawWindow();
  }

  /** Draw what changed, as far as it is in the window. @param {Set<string>} changed */
  patch(changed) {
    const isMoving = this.#mayMove(changed.size);
    for (const id of changed) this.rows.get(id)?.draw(isMoving);
    this.#drawSeams();
  }

  tick() {
    for (const row of this.rows.values()) row.tick();
  }

  redrawAll() {
    for (const row of this.rows.values()) row.draw(false);
    this.#drawSeams();
  }

  /** The row that keys speak of. @param {string} id */
  choose(id) {
    this.rows.get(this.current)?.element.classList.remove("is-on");
    this.current = id;
    this.rows.get(id)?.element.classList.add("is-on");
  }

  /** Move the choice, and the focus with it. @param {number} by */
  move(by) {
    const at = this.ids.indexOf(this.current);
    const next = this.ids[at < 0 ? this.#firstInView() : Math.min(this.ids.length - 1, Math.max(0, at + by))];
    if (!next) return;
    this.#reveal(this.ids.indexOf(next));
    this.drawWindow();
    this.rows.get(next)?.name.focus({ preventScroll: true });
  }

  toTop() {
    this.#scrollTo(0);
  }

  drawWindow() {
    const top = this.#scrolled();
    const from = Math.max(0, this.#indexAt(top) - BEYOND);
    const to = Math.min(this.ids.length, this.#indexAt(top + this.#viewHeight()) + 1 + BEYOND);
    const wanted = new Set(this.ids.slice(from, to));
    this.#dropOthers(wanted);
    /** @type {Element | null} */
    let previous = null;
    for (let at = from; at < to; at += 1) {
      const above = this.events.filter((event) => event.at === at);
      above.forEach(({ takeover }, i) => {
        previous = this.#place(this.#eventRow(takeover), this.#topOf(at) - this.eventPx * (above.length - i), previous);
      });
      const element = this.#rowAt(this.ids[at]).element;
      element.setAttribute("aria-rowindex", String(at + 2));
      previous = this.#place(element, this.#topOf(at), previous);
    }
    this.#drawSeams();
  }

  /** @param {string} id */
  #rowAt(id) {
    let row = this.rows.get(id);
    if (!row) {
      row = new Row(this.store, id, this.does.onAnswer);
      row.draw(false);
      row.element.classList.toggle("is-on", id === this.current);
      this.rows.set(id, row);
    }
    return row;
  }

  /** A row that has the focus is never taken away from under it. @param {Set<string>} wanted */
  #dropOthers(wanted) {
    for (const [id, row] of this.rows) {
      if (wanted.has(id)) continue;
      const isShown = this.ids.includes(id);
      if (isShown && row.element.contains(document.activeElement)) continue;
      row.element.remove();
      this.rows.delete(id);
    }
    const shown = new Set(this.events.map(({ takeover }) => takeover));
    for (const [takeover, element] of this.eventRows) {
      if (shown.has(takeover)) continue;
      element.remove();
      this.eventRows.delete(takeover);
    }
  }

  /** @param {HTMLElement} element @param {number} top @param {Element | null} previous */
  #place(element, top, previous) {
    element.style.setProperty("transform", `translateY(${top}px)`);
    const after = previous ? previous.nextElementSibling : this.inner.firstElementChild;
    if (after !== element) this.inner.insertBefore(element, after);
    return element;
  }

  /** @param {Takeover} takeover */
  #eventRow(takeover) {
    let element = this.eventRows.get(takeover);
    if (!element) {
      element = h("div", { role: "row", class: "event" });
      this.eventRows.set(takeover, element);
    }
    const words = this.does.tell(takeover);
    const signature = words.map((word) => (typeof word === "string" ? word : word.textContent)).join("");
    if (element.dataset.says !== signature) {
      element.dataset.says = signature;
      element.replaceChildren(
        h("div", { role: "cell" }, icon("i-cut")),
        h("div", { role: "cell", class: "event-words" }, words),
      );
    }
    return element;
  }

  /** A takeover stands above the newest saga that it took over. */
  #placeEvents() {
    this.events = [];
    for (const takeover of this.takeovers.list) {
      const at = this.ids.findIndex((id) => takeover.sagas.has(id));
      if (at >= 0) this.events.push({ at, takeover });
    }
    this.events.sort((one, other) => one.at - other.at);
  }

  #drawSeams() {
    const height = this.narrow.matches ? SEAM_NARROW_PX : ROW_PX;
    for (const [id, row] of this.rows) {
      const below = this.narrow.matches ? undefined : this.rows.get(this.ids[this.ids.indexOf(id) + 1] ?? "");
      drawStitches(row, below, this.events, this.takeovers, height);
    }
  }

  /** @param {number} changes */
  #mayMove(changes) {
    const at = performance.now();
    for (let i = 0; i < changes; i += 1) this.changedAt.push(at);
    this.changedAt = this.changedAt.filter((then) => at - then < 1_000).slice(-2 * CALM_PER_S);
    return this.changedAt.length <= CALM_PER_S && !this.still.matches && !document.hidden;
  }

  /** A click anywhere in a row opens it, as its name does. @param {MouseEvent} event */
  #open(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const row = target.closest(".row");
    if (!(row instanceof HTMLElement) || target.closest("a, button") || getSelection()?.toString()) return;
    location.hash = `#/saga/${encodeURIComponent(row.dataset.id ?? "")}`;
  }

  /** @param {number} at */
  #topOf(at) {
    return at * this.rowPx + this.eventPx * this.events.filter((event) => event.at <= at).length;
  }

  #height() {
    return this.ids.length * this.rowPx + this.events.length * this.eventPx;
  }

  /** @param {number} y */
  #indexAt(y) {
    let at = Math.floor(y / this.rowPx);
    while (at > 0 && this.#topOf(at) > y) at -= 1;
    return Math.min(Math.max(0, at), Math.max(0, this.ids.length - 1));
  }

  #firstInView() {
    return this.#indexAt(this.#scrolled() + 1);
  }

  /** On a narrow page the page scrolls, not the list. */
  #scrolled() {
    return this.narrow.matches ? Math.max(0, -this.inner.getBoundingClientRect().top) : this.element.scrollTop;
  }

  #viewHeight() {
    return this.narrow.matches ? innerHeight : this.element.clientHeight;
  }

  /** @param {number} y */
  #scrollTo(y) {
    if (!this.narrow.matches) this.element.scrollTop = y;
    else if (y > 0) scrollBy(0, y - this.#scrolled());
  }

  #anchor() {
    const at = this.#firstInView();
    const id = this.ids[at];
    return id && !this.isAtTop() ? { id, offset: this.#scrolled() - this.#topOf(at) } : null;
  }

  /** @param {number} at */
  #reveal(at) {
    const top = this.#topOf(at);
    const view = this.#viewHeight();
    if (this.narrow.matches)
      return scrollTo({ top: scrollY + this.inner.getBoundingClientRect().top + top - view / 2 });
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (top + this.rowPx > this.element.scrollTop + view) this.element.scrollTop = top + this.rowPx - view;
  }
}
