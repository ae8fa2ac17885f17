/**
 * One saga: its large ribbon, the player that tells it, its books, its trace and its journal. It goes on while one looks.
 */

import { h, icon, say } from "./dom.js";
import { post, Refused } from "./api.js";
import { lay } from "./laying.js";
import { tell } from "./telling.js";
import { hero } from "./hero.js";
import { books } from "./books.js";
import { Player } from "./player.js";
import { Trace } from "./trace.js";
import { Journal } from "./journal.js";
import { headline } from "./sentences.js";
import { newer, readSaga } from "./reading.js";
import { answersOf, standingOf, workerName } from "./words.js";
import { reasonOf } from "./labels.js";
import { now, took } from "./clock.js";

/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./telling.js").Traced} Traced */

export class SagaView {
  /** @param {Store} store @param {import("./kills.js").Kills} kills @param {(text: string, near?: HTMLElement) => void} complain */
  constructor(store, kills, complain) {
    this.store = store;
    this.kills = kills;
    this.complain = complain;
    this.id = "";
    this.generation = 0;
    /** @type {Traced[]} */
    this.attempts = [];
    /** @type {import("./journal.js").Turn[]} */
    this.turns = [];
    this.isLoading = this.isStale = this.isDrawn = false;
  }

  /** @param {string} id @returns {Node[]} */
  open(id) {
    this.id = id;
    this.generation += 1;
    this.attempts = [];
    this.turns = [];
    this.isLoading = this.isStale = this.isDrawn = false;
    this.player = new Player();
    this.trace = new Trace();
    this.journal = new Journal();
    this.tag = h("span", { class: "tag" });
    this.title = h("h1", {}, "");
    this.facts = h("dl", { class: "facts" });
    this.actions = h("div", { class: "actions" });
    this.hero = h("div", { class: "hero-body" }, h("p", { class: "loading" }, "Reading its journal"));
    this.books = h("section", { class: "panel books", "aria-label": "Books of this order" });
    this.page = h(
      "div",
      { class: "page" },
      h(
        "header",
        { class: "head-saga" },
        h(
          "div",
          {},
          h(
            "p",
            { class: "crumb" },
            h("a", { href: "#/" }, "Shop floor"),
            h("span", { "aria-hidden": "true" }, "/"),
            h("b", { class: "mono" }, id),
            this.tag,
          ),
          this.title,
        ),
        h("div", { class: "head-end" }, this.actions, this.facts),
      ),
      h(
        "div",
        { class: "hero-grid" },
        h(
          "section",
          { class: "panel hero", "aria-labelledby": "h-what" },
          this.player.element,
          h("h2", { class: "vh", id: "h-what" }, "What happened"),
          this.player.now,
          this.player.list,
          this.hero,
        ),
        this.books,
      ),
      h("div", { class: "two is-trace" }, this.trace.element, this.journal.element),
    );
    this.#load();
    return [this.page];
  }

  close() {
    this.id = "";
    this.generation += 1;
    this.player?.stop();
  }

  /** @param {import("./store.js").Changes} changes */
  update(changes) {
    const outline = this.store.outlines.get(this.id);
    if (!outline || !this.isDrawn) return;
    const isOurs =
      changes.sagas.has(this.id) || outline.ops.some((op) => op.child_id && changes.sagas.has(op.child_id));
    if (isOurs) this.#load();
    else if (changes.books.has(this.id) || changes.parts.has("plugs")) this.#draw();
  }

  tick() {
    const outline = this.store.outlines.get(this.id);
    if (outline && !outline.ended_at && this.took) say(this.took, took(now() - Date.parse(outline.started_at)));
  }

  play() {
    this.player?.press();
  }

  /** @param {"pay" | "refuse"} answer @param {HTMLElement} [button] */
  async answer(answer, button) {
    try {
      await post(`/floor/orders/${encodeURIComponent(this.id)}/answer`, { answer });
    } catch (error) {
      this.complain(
        `Not sent: ${/** @type {Error} */ (error).message}. The saga is as it was.`,
        button ?? this.actions,
      );
    }
  }

  /** Read what stands in the journal by now; asked again while reading, it reads once more. */
  async #load() {
    if (this.isLoading) {
      this.isStale = true;
      return;
    }
    this.isLoading = true;
    const { generation, id } = this;
    try {
      await this.#read(id);
      if (generation === this.generation) this.#draw();
    } catch (error) {
      if (generation === this.generation) this.#missing(/** @type {Refused} */ (error));
    }
    if (generation !== this.generation) return;
    this.isLoading = false;
    if (this.isStale) {
      this.isStale = false;
      this.#load();
    }
  }

  /** @param {string} id */
  async #read(id) {
    const read = await readSaga(this.store, id, (this.turns.at(-1)?.pos ?? -1) + 1);
    if (id !== this.id) return;
    this.latest = read.outline;
    this.attempts = read.attempts;
    this.turns = [...this.turns, ...read.turns];
  }

  #draw() {
    const outline = newer(this.store.outlines.get(this.id), this.latest);
    if (!outline || !this.player) return;
    this.store.columns.learn(outline);
    const book = this.store.books.get(this.id) ?? this.store.books.get(this.store.rootOf(this.id));
    const laid = lay(outline, this.store.columns, this.store.find);
    const tale = tell(laid, this.attempts, book);
    const drawn = hero(laid, tale, this.attempts, book, (seam) => this.#seamWords(seam.at, seam.worker));
    const account = books(laid, outline.parent_id ? undefined : book, tale);
    this.hero?.replaceChildren(drawn.list);
    this.books?.replaceChildren(...account.content);
    this.#drawHead(laid, book);
    this.player.load(tale, [...drawn.parts, ...account.parts], !this.isDrawn);
    this.trace?.draw(laid, this.attempts, book, (seam) => this.#seamWords(Date.parse(seam.at), seam.worker));
    this.journal?.draw(this.turns, outline.seams);
    this.isDrawn = true;
  }

  /** @param {number} at @param {string} worker */
  #seamWords(at, worker) {
    const kill = this.kills.before(at);
    return kill ? `killed, back in ${took(at - kill.at)}` : `${workerName(worker)} took over`;
  }

  /** @param {import("./laying.js").Laid} laid @param {import("./shapes.js").Book | undefined} book */
  #drawHead(laid, book) {
    const { outline } = laid;
    const standing = standingOf(laid, book);
    if (this.title) say(this.title, headline(laid, book));
    if (this.tag) {
      this.tag.className = `tag ${standing.tone}`;
      this.tag.replaceChildren(icon(standing.icon), standing.title);
    }
    const fact = (/** @type {string} */ name, /** @type {string | Node} */ value) =>
      h("div", {}, h("dt", {}, name), h("dd", {}, value));
    const end = outline.ended_at ? Date.parse(outline.ended_at) : now();
    this.took = h("span", {}, took(end - Date.parse(outline.started_at)));
    const why = outline.error ? `${outline.status}: ${reasonOf(outline.error)}` : outline.status;
    this.facts?.replaceChildren(
      fact("saga", `${outline.type}, v${outline.version}`),
      fact(outline.ended_at ? "took" : "runs for", this.took),
      ...(outline.ended_at ? [fact("ended as", why)] : []),
      fact("takeovers", String(outline.seams.length)),
      ...(outline.parent_id
        ? [fact("belongs to", h("a", { href: `#/saga/${encodeURIComponent(outline.parent_id)}` }, outline.parent_id))]
        : []),
    );
    this.#drawActions(laid);
  }

  /** @param {import("./laying.js").Laid} laid */
  #drawActions(laid) {
    const answers = answersOf(laid);
    const needs = laid.status === "stuck" || laid.status === "blocked";
    const signature = [answers.join(), needs && laid.stuckId].join();
    if (this.actions?.dataset.says === signature || !this.actions) return;
    this.actions.dataset.says = signature;
    this.actions.replaceChildren(
      ...answers.map((answer) =>
        h(
          "button",
          {
            type: "button",
            class: "btn",
            "data-answer": answer,
            onclick: (/** @type {MouseEvent} */ event) =>
              this.answer(answer, /** @type {HTMLElement} */ (event.currentTarget)),
          },
          answer === "pay" ? "Pay" : "Refuse",
          " ",
          h("kbd", { "aria-hidden": "true" }, answer === "pay" ? "p" : "r"),
        ),
      ),
      ...(needs
        ? [h("a", { class: "btn is-warn", href: `#/desk/${encodeURIComponent(laid.stuckId)}` }, "Decide at the desk")]
        : []),
    );
  }

  /** @param {Refused} error */
  #missing(error) {
    if (this.isDrawn) return this.complain(`This page may be behind: ${error.message}.`);
    const isGone = error instanceof Refused && error.status === 404;
    if (!(error instanceof Refused)) throw error;
    this.page?.replaceChildren(
      h(
        "section",
        { class: "missing" },
        h("h1", {}, isGone ? "There is no such saga" : "It could not be read"),
        h(
          "p",
          {},
          h("b", { class: "mono" }, this.id),
          isGone
            ? " is not in this installation. Sagas that ended long ago are put away by retention."
            : ` could not be read: ${error.message}.`,
        ),
        h(
          "p",
          {},
          h("a", { href: "#/" }, "Look on the shop floor"),
          isGone ? ", or with the command " : "",
          isGone ? h("span", { class: "mono" }, "amends ls") : "",
          ".",
        ),
      ),
    );
  }

  /** @type {Player | undefined} */ player;
  /** @type {Trace | undefined} */ trace;
  /** @type {Journal | undefined} */ journal;
  /** @type {HTMLElement | undefined} */ took;
  /** @type {import("./shapes.js").Outline | undefined} */ latest;
}
