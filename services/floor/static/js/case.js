/**
 * One case at the desk: why it waits, what stands, what was taken back, and the verbs with what each would leave.
 */

import { h, icon } from "./dom.js";
import { post, Refused, sagaPath } from "./api.js";
import { clock } from "./clock.js";
import { hero } from "./hero.js";
import { lay } from "./laying.js";
import { standing, takenBackInside } from "./standing.js";
import { tell } from "./telling.js";
import { afterWords, becomes, buttonWords, caseTitle, offered, verbTells, verbTitle } from "./verbs.js";
import { wordsOf } from "./words.js";

/** @typedef {import("./shapes.js").Desk} Desk */
/** @typedef {import("./store.js").Store} Store */
const NOTE_MAX = 2_000;

export class Case {
  /** @param {Store} store @param {string} id @param {(text: string, near?: HTMLElement) => void} complain @param {(verbNo: number) => void} onGiven */
  constructor(store, id, complain, onGiven) {
    this.store = store;
    this.id = id;
    this.complain = complain;
    this.onGiven = onGiven;
    this.verb = "";
    this.isGiven = false;
    this.note = /** @type {HTMLTextAreaElement} */ (
      h("textarea", {
        id: "note",
        maxlength: NOTE_MAX,
        "aria-describedby": "note-hint",
        oninput: () => this.#drawButton(),
      })
    );
    this.element = h("article", { class: "panel case", id: "case", "aria-labelledby": "h-case" });
  }

  /** @param {Desk} desk */
  draw(desk) {
    const inside = this.#takenBackInside().map(({ seq }) => seq);
    const signature = JSON.stringify([desk, this.store.mayOperate, this.book, inside]);
    if (this.signature === signature) return;
    this.signature = signature;
    const hadNote = document.activeElement === this.note;
    this.desk = desk;
    const verbs = offered(desk);
    if (!verbs.some(({ verb }) => verb === this.verb)) this.verb = verbs[0]?.verb ?? "";
    const isOver = !verbs.length;
    this.element.replaceChildren(
      this.#head(desk),
      this.#ribbon(),
      standing(desk, this.#takenBackInside(), this.book),
      isOver ? this.#settled(desk) : this.#verbs(desk, verbs),
      this.#audit(desk),
    );
    if (!isOver) this.#drawButton();
    if (hadNote) this.note.focus();
  }

  get book() {
    return this.store.books.get(this.store.rootOf(this.id));
  }

  /** @param {Desk} desk */
  #head(desk) {
    const isBlocked = desk.status === "blocked";
    const needs = isBlocked || desk.status === "stuck";
    const tag = h(
      "span",
      { class: needs ? (isBlocked ? "tag is-blocked" : "tag is-stuck") : "tag" },
      needs && icon(isBlocked ? "i-blocked" : "i-stuck"),
      needs ? (isBlocked ? "Blocked" : "Stuck") : capital(desk.status),
    );
    const phase = { undoing: ", while undoing", forward: ", past the point of no way back", blocked: "", over: "" }[
      desk.phase
    ];
    const root = this.store.rootOf(this.id);
    return h(
      "div",
      { class: "case-head" },
      h(
        "div",
        {},
        h(
          "p",
          { class: "crumb" },
          h("b", { class: "mono" }, this.id),
          tag,
          desk.since && h("span", {}, `since ${clock(desk.since)}${needs ? phase : ""}`),
        ),
        h("h2", { class: "story", id: "h-case" }, caseTitle(desk, this.book)),
        desk.why && h("p", { class: "why" }, "Its words: ", h("span", { class: "mono" }, wordsOf(desk.why))),
      ),
      h("a", { class: "btn", href: `#/saga/${encodeURIComponent(root)}` }, "Trace and journal"),
    );
  }

  /** The whole order is drawn, though a child of it may be what waits. */
  #ribbon() {
    const laid = this.#laid();
    if (!laid) return h("div");
    const { list, parts } = hero(laid, tell(laid, [], this.book), [], this.book, () => "taken over");
    for (const { el, hide } of parts) if (hide !== undefined) el.classList.add("is-off");
    list.querySelectorAll(".seam-h").forEach((seam) => seam.remove());
    list.classList.remove("has-seams");
    list.classList.toggle("is-flat", !laid.cause);
    return list;
  }

  #laid() {
    const outline = this.store.outlines.get(this.store.rootOf(this.id));
    return outline && lay(outline, this.store.columns, this.store.find);
  }

  #takenBackInside() {
    return this.store.rootOf(this.id) === this.id ? takenBackInside(this.#laid()?.cells ?? [], this.id) : [];
  }

  /** @param {Desk} desk @param {import("./shapes.js").Preview[]} verbs */
  #verbs(desk, verbs) {
    const may = this.store.mayOperate;
    const cards = verbs.map((preview) => {
      const input = /** @type {HTMLInputElement} */ (
        h("input", {
          type: "radio",
          name: "verb",
          value: preview.verb,
          disabled: !may,
          onchange: () => {
            this.verb = preview.verb;
            this.#drawButton();
          },
        })
      );
      input.checked = preview.verb === this.verb;
      return h(
        "label",
        { class: "verb" },
        input,
        h(
          "span",
          { class: "card" },
          h("b", {}, h("i", { class: "radio" }), verbTitle(preview.verb, desk)),
          h("span", {}, verbTells(preview, desk, this.book)),
        ),
      );
    });
    this.hint = h("p", { class: "hint", id: "note-hint" });
    this.preview = h("div", { class: "preview", "aria-live": "polite" });
    this.button = /** @type {HTMLButtonElement} */ (
      h("button", { type: "button", class: "btn is-main", onclick: () => this.#give() })
    );
    return h(
      "section",
      { class: "verbs", "aria-labelledby": "h-verbs" },
      h("h3", { id: "h-verbs" }, "What should happen?"),
      h("div", { class: "verb-grid", role: "radiogroup", "aria-labelledby": "h-verbs" }, cards),
      h(
        "div",
        { class: "sign" },
        h("div", {}, h("label", { for: "note" }, "Note, kept with the saga"), this.note, this.hint),
        h("div", { class: "preview-box" }, this.preview, this.button),
      ),
    );
  }

  #drawButton() {
    const { desk } = this;
    const preview = desk?.verbs.find(({ verb }) => verb === this.verb);
    if (!desk || !preview || !this.button || !this.preview || !this.hint) return;
    const lacksNote = preview.needs_note && !this.note.value.trim();
    this.button.disabled = this.isGiven || lacksNote || !this.store.mayOperate;
    this.button.textContent = this.isGiven
      ? "Given, waiting for it to be carried out"
      : buttonWords(this.verb, desk, this.book);
    this.hint.textContent = !this.store.mayOperate
      ? "To decide needs operate: this page may only read."
      : preview.needs_note
        ? "Needs a note: whoever reads this later wants to know why."
        : "A note is welcome, and not needed for this one.";
    const signature = this.verb;
    if (this.preview.dataset.says === signature) return;
    this.preview.dataset.says = signature;
    const lines = becomes(preview, desk, this.book).flatMap(({ name, becomes: word, stays }) => [
      h("dt", {}, name),
      h("dd", { class: stays ? "amt-stuck" : false }, word),
    ]);
    this.preview.replaceChildren(h("h4", {}, afterWords(this.verb)), h("dl", {}, lines));
  }

  async #give() {
    this.isGiven = true;
    this.#drawButton();
    try {
      const { verb_no: verbNo } = await post(`${sagaPath(this.id)}/verbs`, {
        verb: this.verb,
        note: this.note.value.trim(),
      });
      this.onGiven(verbNo);
    } catch (error) {
      this.isGiven = false;
      if (error instanceof Refused && error.status === 403)
        this.store.patch("role", () => {
          this.store.mayOperate = false;
        });
      this.#drawButton();
      this.complain(`Not sent: ${/** @type {Error} */ (error).message}. The saga is as it was.`, this.button);
    }
  }

  /** The verb was read: what came of it. A refused one leaves the case as it was. @param {string} outcome */
  wasRead(outcome) {
    this.isGiven = false;
    this.outcome = outcome;
    this.signature = "";
    if (this.desk) this.draw(this.desk);
  }

  /** @param {Desk} desk */
  #settled(desk) {
    const words = desk.phase === "over" ? "It has ended." : "It goes on by itself.";
    return h(
      "section",
      { class: "verbs" },
      h("h3", {}, "What should happen?"),
      h("p", { class: "story settled-words" }, `Nothing more is asked of you. ${words}`),
    );
  }

  /** @param {Desk} desk */
  #audit(desk) {
    if (!desk.audit.length) return h("div");
    const lines = [...desk.audit]
      .reverse()
      .map((one) =>
        h(
          "li",
          {},
          h("b", {}, one.verb),
          ` by ${one.given_by}, ${clock(one.given_at)}`,
          one.outcome ? `: ${one.outcome}` : ", not read yet",
          one.note && [h("br"), h("q", {}, one.note)],
        ),
      );
    return h(
      "section",
      { class: "audit", "aria-labelledby": "h-audit" },
      h("h3", { id: "h-audit" }, "Who said what"),
      h("ul", {}, lines),
    );
  }

  signature = "";
  outcome = "";
  /** @type {Desk | undefined} */ desk;
  /** @type {HTMLButtonElement | undefined} */ button;
  /** @type {HTMLElement | undefined} */ preview;
  /** @type {HTMLElement | undefined} */ hint;
}

/** @param {string} text */
function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
