/**
 * The board: every saga as a ribbon, beside its line in the books.
 */

import { h, s, say } from "./dom.js";
import { Filters } from "./filters.js";
import { List } from "./list.js";
import { Placing } from "./placing.js";
import { markKey } from "./key.js";
import { headingLines } from "./headings.js";
import { grouped } from "./money.js";
import { totalCells } from "./totals.js";
import { clock, took } from "./clock.js";
import { workerName } from "./words.js";
import { post } from "./api.js";

/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./store.js").Changes} Changes */
/** @typedef {import("./takeovers.js").Takeovers} Takeovers */

const STREAM_PER_S = 5;

export class Board {
  /** @param {Store} store @param {Takeovers} takeovers @param {import("./kills.js").Kills} kills @param {(text: string, near?: HTMLElement) => void} complain */
  constructor(store, takeovers, kills, complain) {
    this.store = store;
    this.kills = kills;
    this.complain = complain;
    this.filters = new Filters(store, () => this.#filter());
    this.placing = new Placing(complain);
    this.list = new List(store, takeovers, {
      onAnswer: (id, answer, button) => this.answer(id, answer, button),
      tell: (takeover) => this.#tell(takeover),
    });
    this.stream = h(
      "button",
      { type: "button", class: "btn", "aria-pressed": "false", onclick: () => this.toggleStream() },
      h("span"),
      h("kbd", { "aria-hidden": "true" }, "s"),
    );
    this.headings = h("span", { role: "columnheader", class: "headings" });
    this.more = h("button", { type: "button", class: "more", hidden: true, onclick: () => this.#toTop() });
    this.nothing = h("div", { class: "nothing", hidden: true });
    this.total = h("div", { role: "row", class: "total" });
    this.table = h(
      "div",
      { role: "table", "aria-label": "Sagas, newest first" },
      this.#head(),
      h("div", { class: "rows-box" }, this.list.element, this.more, this.nothing),
      this.total,
    );
    this.element = h(
      "section",
      { class: "panel board", "aria-labelledby": "h-board" },
      h("h2", { class: "vh", id: "h-board" }, "Sagas"),
      h(
        "div",
        { class: "bar" },
        this.placing.element,
        this.stream,
        h("span", { class: "grow" }),
        this.filters.element,
        this.filters.find,
      ),
      this.table,
      markKey("is-board", ["done", "gone", "undo", "wait", "unknown", "again", "seam", "pivot", "stuck"]),
    );
    /** @type {string[]} */
    this.shownIds = [];
    this.unseen = 0;
    this.#filter();
    this.drawStream();
  }

  /** @param {Changes} changes */
  update(changes) {
    if (changes.rows || changes.parts.has("loaded")) this.#rows(changes);
    if (changes.columns) {
      this.#drawHeadings();
      this.list.redrawAll();
    } else {
      this.list.patch(new Set([...changes.sagas, ...changes.books]));
    }
    if (changes.rows || changes.books.size || changes.parts.has("books")) this.#drawTotal();
    if (changes.parts.has("stream")) this.drawStream();
    if (changes.parts.has("plugs")) this.list.drawWindow();
  }

  /** It is shown again after another view: what changed meanwhile is drawn at once. */
  reopen() {
    this.#filter();
    this.list.redrawAll();
    this.drawStream();
  }

  tick() {
    this.list.tick();
  }

  /** @param {string} id @param {"pay" | "refuse"} answer @param {HTMLElement} button */
  async answer(id, answer, button) {
    if (button instanceof HTMLButtonElement) button.disabled = true;
    try {
      await post(`/floor/orders/${encodeURIComponent(id)}/answer`, { answer });
    } catch (error) {
      this.complain(`Not sent: ${/** @type {Error} */ (error).message}. ${id} is as it was.`, button);
      if (button instanceof HTMLButtonElement) button.disabled = false;
    }
  }

  /** Of the chosen row. @param {"pay" | "refuse"} answer */
  answerChosen(answer) {
    const row = this.list.rows.get(this.list.current);
    const button = row?.element.querySelector(`[data-answer="${answer}"]`);
    if (button instanceof HTMLElement) button.click();
  }

  async toggleStream() {
    const isOn = this.store.perS > 0;
    try {
      await post("/floor/stream", { per_s: isOn ? 0 : STREAM_PER_S, answer: "mixed" });
    } catch (error) {
      this.complain(`The stream is as it was: ${/** @type {Error} */ (error).message}.`, this.stream);
    }
  }

  drawStream() {
    const isOn = this.store.perS > 0;
    this.stream.setAttribute("aria-pressed", String(isOn));
    say(
      /** @type {Element} */ (this.stream.firstElementChild),
      isOn ? `Streaming, ${this.store.perS}/s` : `Stream, ${STREAM_PER_S}/s`,
    );
  }

  /** @param {Changes} changes */
  #rows(changes) {
    const before = this.shownIds;
    const rows = this.filters.rows();
    const isAtTop = this.list.isAtTop();
    if (!isAtTop && before.length) {
      const known = new Set(before);
      const added = rows.findIndex((id) => known.has(id));
      if (added > 0 && this.filters.group === "all") this.unseen += added;
    } else this.unseen = 0;
    this.shownIds = [...rows];
    this.list.show(this.shownIds, !isAtTop);
    this.#drawMore();
    this.filters.drawCounts();
    this.#drawNothing();
    if (changes.rows) this.#drawHeadings();
  }

  #filter() {
    this.shownIds = [...this.filters.rows()];
    this.unseen = 0;
    this.list.show(this.shownIds, false);
    this.#toTop();
    this.filters.drawCounts();
    this.#drawNothing();
    this.#drawHeadings();
    this.#drawTotal();
  }

  #toTop() {
    this.unseen = 0;
    this.#drawMore();
    this.list.toTop();
    this.list.drawWindow();
  }

  #drawMore() {
    this.more.toggleAttribute("hidden", this.unseen === 0);
    if (this.unseen) say(this.more, `${grouped(this.unseen)} new`);
  }

  #head() {
    const right = (/** @type {(string | Node)[]} */ ...words) =>
      h("span", { role: "columnheader", class: "num" }, words);
    return h(
      "div",
      { role: "rowgroup" },
      h(
        "div",
        { role: "row", class: "cols", "aria-rowindex": "1" },
        h("span", { role: "columnheader" }, "Saga"),
        this.headings,
        h("span", { role: "columnheader" }, "Now"),
        right("Gateway’s", h("br"), "book"),
        right("Orders"),
        right("Stock"),
        right("Open, RM"),
      ),
    );
  }

  #drawHeadings() {
    const { lines, signature, isMixed } = headingLines(this.store, this.shownIds);
    if (this.headings.dataset.says === signature) return;
    this.headings.dataset.says = signature;
    this.headings.replaceChildren(...lines);
    this.element.classList.toggle("is-mixed", isMixed);
  }

  #drawNothing() {
    this.nothing.toggleAttribute("hidden", this.shownIds.length > 0);
    this.table.setAttribute("aria-rowcount", String(this.shownIds.length + 2));
    if (this.shownIds.length) return;
    if (!this.store.isLoaded)
      return this.nothing.replaceChildren(ghost(), ghost(), ghost(), h("p", { class: "vh" }, "Loading"));
    if (this.filters.group !== "all" || this.filters.text) {
      return this.nothing.replaceChildren(
        h("p", {}, this.filters.nothing()),
        h(
          "button",
          {
            type: "button",
            class: "btn is-small",
            onclick: () => {
              this.filters.clear();
              this.#filter();
            },
          },
          "Show all",
        ),
      );
    }
    this.nothing.replaceChildren(
      ghost(),
      h("p", { class: "story" }, "No orders yet. Place one and watch it."),
      h(
        "button",
        { type: "button", class: "btn is-main", onclick: () => this.placing.place("none") },
        "Place an order",
      ),
    );
  }

  #drawTotal() {
    const isWhole = this.filters.group === "all" && !this.filters.text;
    this.total.setAttribute("aria-rowindex", String(this.shownIds.length + 2));
    this.total.replaceChildren(...totalCells(this.store, this.shownIds.length, isWhole));
  }

  /** @param {import("./takeovers.js").Takeover} takeover */
  #tell(takeover) {
    const kill = this.kills.before(takeover.at);
    const rest = h(
      "span",
      { class: "dim" },
      takeover.sagas.size > 1
        ? "The stitches show where each saga was; all went on, none began again."
        : "The stitch shows where the saga was; it went on, and did not begin again.",
    );
    if (!kill) return [h("b", {}, `${workerName(takeover.worker)} took over ${clock(takeover.at, 1)}.`), " ", rest];
    const winner = this.kills.winner(kill.name, this.store.plugs);
    return [
      h("b", {}, `${kill.label} killed ${clock(kill.at, 1)}.`),
      ` ${winner} took over in ${took(takeover.at - kill.at)}. `,
      rest,
    ];
  }
}

function ghost() {
  return s(
    "svg",
    { class: "ghost", "aria-hidden": "true" },
    s("line", { class: "m-rail", x1: "0", x2: "100%", y1: 12.5, y2: 12.5 }),
  );
}
