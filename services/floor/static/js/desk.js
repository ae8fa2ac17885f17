/**
 * The stuck desk: sagas that wait for a person, the oldest first, and the case of one of them.
 */

import { h } from "./dom.js";
import { eachOutline, get, PRODUCT, sagaPath } from "./api.js";
import { Case } from "./case.js";
import { clock, now, since } from "./clock.js";
import { CURRENCY, amount, cents } from "./money.js";
import { ticket } from "./tickets.js";

/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./shapes.js").Desk} Desk */

const WAITING_MAX = 200;
const DESKS_MAX = 50; // how many of them are read in full, so that the oldest comes first
const AUDIT_MAX = 500; // of the newest verbs; more in a day are shown as so many and more
const AUDIT_SHOWN_MAX = 5;
const DAY_MS = 86_400_000;
const NUMBERS = [
  "No",
  "One",
  "Two",
  "Three",
  "Four",
  "Five",
  "Six",
  "Seven",
  "Eight",
  "Nine",
  "Ten",
  "Eleven",
  "Twelve",
];

export class DeskView {
  /** @param {Store} store @param {(text: string, near?: HTMLElement) => void} complain */
  constructor(store, complain) {
    this.store = store;
    this.complain = complain;
    /** @type {Map<string, Desk>} */
    this.desks = new Map();
    /** @type {Set<string>} */
    this.reading = new Set();
    /** @type {import("./shapes.js").GivenVerb[]} */
    this.audit = [];
    /** @type {Map<number, string>} */
    this.given = new Map();
    this.selected = "";
    this.proof = h("section", { class: "proof", "aria-label": "Held for a person" });
    this.pile = h("section", { class: "panel pile", "aria-label": "Waiting, oldest first" });
    this.done = h("section", { class: "panel settled", "aria-labelledby": "h-settled" });
    this.place = h("div", { class: "case-place" });
    this.body = h("div", { class: "desk" }, h("div", {}, this.pile, this.done), this.place);
  }

  /** @param {string} id @returns {Node[]} */
  open(id) {
    this.selected = id;
    this.case = undefined;
    this.#load();
    this.#draw();
    return [this.proof, this.body];
  }

  /** @param {import("./store.js").Changes} changes */
  update(changes) {
    const desked = [...changes.sagas].filter(
      (id) => this.desks.has(id) || id === this.selected || isWaiting(this.store, id),
    );
    for (const id of desked) this.#read(id);
    if (changes.parts.has("role") || changes.books.size || desked.length || changes.parts.has("loaded")) this.#draw();
    if (desked.length) this.#readGiven();
  }

  /** The list may hold only the newest: ask for those that wait. */
  async #load() {
    try {
      await eachOutline({ status: ["stuck", "blocked"] }, WAITING_MAX, (outlines) => {
        for (const outline of outlines) this.store.putOutline(outline);
      });
      this.isLoaded = true;
      for (const { id } of this.store.needing().slice(0, DESKS_MAX)) this.#read(id);
      if (this.selected) this.#read(this.selected);
      await this.#readAudit();
    } catch (error) {
      this.complain(`The desk could not be read: ${/** @type {Error} */ (error).message}.`);
    }
  }

  /** @param {string} id */
  async #read(id) {
    if (this.reading.has(id)) return;
    this.reading.add(id);
    try {
      const desk = /** @type {Desk} */ (await get(`${sagaPath(id)}/desk`));
      this.desks.set(id, desk);
      if (desk.since) this.store.sinceStuck.set(id, desk.since);
      await this.#needParent(id);
    } catch (error) {
      if (id === this.selected) this.missing = /** @type {Error} */ (error).message;
    }
    this.reading.delete(id);
    this.#draw();
  }

  /** A child is shown with its order. @param {string} id */
  async #needParent(id) {
    const outline = this.store.outlines.get(id) ?? (await get(`${sagaPath(id)}/outline`));
    this.store.putOutline(outline);
    if (outline.parent_id && !this.store.outlines.has(outline.parent_id))
      this.store.putOutline(await get(`${sagaPath(outline.parent_id)}/outline`));
  }

  /** What everybody has answered lately, not only this browser. */
  async #readAudit() {
    const { verbs } = await get(`${PRODUCT}/v1/verbs?limit=${AUDIT_MAX}`);
    const since = now() - DAY_MS;
    this.audit = verbs.filter(
      (/** @type {import("./shapes.js").GivenVerb} */ one) => one.outcome !== null && Date.parse(one.given_at) > since,
    );
    this.#draw();
  }

  /** What came of the verbs that were given here; asked when their saga has moved. */
  async #readGiven() {
    for (const [verbNo, id] of this.given) {
      const found = await get(`${PRODUCT}/v1/verbs/${verbNo}`).catch(() => null); // It is asked again with the next turn.
      if (!found || found.outcome === null) continue;
      this.given.delete(verbNo);
      if (this.case?.id === id) this.case.wasRead(found.outcome);
    }
    await this.#readAudit().catch(() => null); // It is read again with the next move.
  }

  /** The oldest first; those of which that is not known yet, last. */
  #waiting() {
    const at = (/** @type {string} */ id) => this.desks.get(id)?.since ?? this.store.outlines.get(id)?.started_at ?? "";
    return this.store
      .needing()
      .map(({ id }) => id)
      .sort((one, other) => at(one).localeCompare(at(other)));
  }

  #draw() {
    const waiting = this.#waiting();
    if (!this.selected && waiting.length) this.selected = waiting[0];
    this.#drawProof(waiting);
    this.#drawPile(waiting);
    this.#drawSettled();
    this.#drawCase(waiting);
  }

  /** @param {string[]} waiting */
  #drawProof(waiting) {
    const held = waiting.reduce((all, id) => all + cents(this.#book(id)?.open), 0n);
    const oldest = waiting
      .map((id) => this.desks.get(id)?.since)
      .filter(Boolean)
      .sort()[0];
    const count = waiting.length;
    const title = count
      ? `${NUMBERS[count] ?? count} ${count === 1 ? "saga needs" : "sagas need"} a person`
      : "Nobody is waiting for you";
    const sub = count
      ? "Nothing here is lost: each waits where it stopped, and goes on from there."
      : this.isLoaded
        ? "When a saga cannot go on by itself, it comes here."
        : "Looking.";
    const part = (/** @type {string} */ name, /** @type {string} */ figure) =>
      h("div", {}, h("dt", {}, name), h("dd", {}, figure));
    this.proof.replaceChildren(
      h("div", {}, h("h1", {}, title), h("p", { class: "proof-sub" }, sub)),
      h(
        "dl",
        { class: "sum" },
        part("held with stuck sagas", `${CURRENCY} ${amount(held)}`),
        part("waiting longest", oldest ? since(now() - Date.parse(oldest)) : "–"),
        part("answered in a day", this.audit.length < AUDIT_MAX ? String(this.audit.length) : `${AUDIT_MAX}+`),
      ),
    );
  }

  /** @param {string[]} waiting */
  #drawPile(waiting) {
    const focused =
      document.activeElement instanceof HTMLElement && this.pile.contains(document.activeElement)
        ? document.activeElement.dataset.id
        : "";
    const tickets = waiting.map((id) => ticket(this.store, id, this.desks.get(id), id === this.selected));
    this.pile.replaceChildren(h("h2", {}, waiting.length ? "Oldest first" : "None is stuck."), ...tickets);
    if (focused) tickets.find((ticket) => ticket.dataset.id === focused)?.focus();
  }

  #drawSettled() {
    this.done.hidden = this.audit.length === 0;
    const lines = this.audit.slice(0, AUDIT_SHOWN_MAX).map((one) =>
      h(
        "li",
        {},
        h("a", { href: `#/saga/${encodeURIComponent(this.store.rootOf(one.saga_id))}` }, h("b", {}, one.saga_id)),
        ` ${PAST[/** @type {keyof typeof PAST} */ (one.verb)] ?? one.verb} by ${one.given_by}, ${clock(one.given_at).slice(0, 5)}`,
        one.note && [h("br"), h("q", {}, one.note)],
      ),
    );
    this.done.replaceChildren(
      h("header", {}, h("h2", { id: "h-settled" }, "Answered"), h("span", { class: "dim" }, "who and why is kept")),
      h("ol", {}, lines),
    );
  }

  /** @param {string[]} waiting */
  #drawCase(waiting) {
    const id = this.selected;
    const desk = this.desks.get(id);
    if (!id || !desk) {
      const words =
        id && this.missing
          ? [h("b", { class: "mono" }, id), ` could not be read: ${this.missing}.`]
          : waiting.length || (id && !this.missing)
            ? "Looking."
            : "None is stuck. What waits for a person is listed here, with why it waits and what each answer would leave.";
      this.case = undefined;
      return this.place.replaceChildren(h("div", { class: "panel case is-empty" }, h("p", { class: "story" }, words)));
    }
    if (this.case?.id !== id) {
      this.case = new Case(this.store, id, this.complain, (verbNo) => {
        this.given.set(verbNo, id);
        this.#readGiven();
      });
      this.place.replaceChildren(this.case.element);
    }
    this.case.draw(desk);
  }

  /** @param {string} id */
  #book(id) {
    return this.store.books.get(this.store.rootOf(id));
  }

  isLoaded = false;
  missing = "";
  /** @type {Case | undefined} */ case;
}

const PAST = {
  retry: "retried",
  skip: "skipped",
  fail: "given up",
  unblock: "unblocked",
  terminate: "terminated",
  cancel: "cancelled",
};

/** @param {Store} store @param {string} id */
function isWaiting(store, id) {
  const status = store.outlines.get(id)?.status;
  return status === "stuck" || status === "blocked";
}
