/**
 * Just now: what happened, in sentences. At most one a second is added; above that they are counted together.
 */

import { h } from "./dom.js";
import { clock, now, took } from "./clock.js";
import { isZero } from "./money.js";
import { reasonOf } from "./labels.js";
import { workerName } from "./words.js";

/** @typedef {import("./shapes.js").Outline} Outline */
/** @typedef {{kind: string, id: string, text: string}} News */

const KEPT_MAX = 5;
const EVERY_MS = 1_000;
const COUNTED = {
  completed: "completed",
  undone: "undone",
  placed: "placed",
  refused: "turned over",
  unknown: "with a lost answer",
  stuck: "stuck",
};

export class Log {
  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.store = store;
    /** @type {News[]} */
    this.waiting = [];
    this.timer = 0;
    this.latest = 0;
    this.list = h(
      "ol",
      { class: "log" },
      h("li", { class: "quiet" }, h("span"), h("span", {}, "Nothing yet. It will say what happens, as it happens.")),
    );
    this.element = h(
      "section",
      { class: "panel", "aria-labelledby": "h-log" },
      h("header", {}, h("h2", { id: "h-log" }, "Just now")),
      h("div", { role: "log", "aria-labelledby": "h-log", tabindex: "-1" }, this.list),
    );
  }

  /** What a patch tells. Nothing is told of what was so when the page came. @param {Outline} outline @param {Outline | undefined} before */
  saw(outline, before) {
    if (outline.parent_id) return this.#sawChild(outline, before);
    if (!before) {
      if (outline.turns <= 2 && Math.abs(now() - Date.parse(outline.started_at)) < 5_000)
        this.#add("placed", outline.id, " was placed.");
      return;
    }
    if (outline.status !== before.status) this.#sawStatus(outline);
    const lost = outline.ops.find((op) => op.was_unknown && !before.ops.find(({ seq }) => seq === op.seq)?.was_unknown);
    if (lost && outline.status === "running")
      this.#add("unknown", outline.id, ": an answer was lost. It is being looked up.");
  }

  /** @param {Outline} outline @param {Outline | undefined} before */
  #sawChild(outline, before) {
    if (outline.status === "stuck" && before && before.status !== "stuck")
      this.#add("stuck", outline.parent_id ?? outline.id, " is stuck: a person must decide.");
  }

  /** @param {Outline} outline */
  #sawStatus(outline) {
    const { id, status } = outline;
    const why = reasonOf(outline.error);
    const turned = reasonOf(outline.undone_because);
    const book = this.store.books.get(id);
    const atZero = book && isZero(book.open) ? " Its books are at zero." : "";
    if (status === "completed")
      this.#add(
        "completed",
        id,
        ` is completed, after ${took(Date.parse(outline.ended_at ?? "") - Date.parse(outline.started_at))}.`,
      );
    else if (status === "compensating")
      this.#add("refused", id, ` could not go on${turned ? `: ${turned}` : ""}. What was done is being taken back.`);
    else if (status === "failed" || status === "cancelled")
      this.#add("undone", id, ` is undone${why ? `: ${why}` : ""}.${atZero}`);
    else if (status === "stuck") this.#add("stuck", id, " is stuck: a person must decide.");
    else if (status === "blocked") this.#add("stuck", id, " is blocked: its code does not match its journal.");
    else if (status === "terminated") this.#add("undone", id, " was terminated. Nothing was taken back.");
  }

  /** @param {import("./shapes.js").Takeover} takeover */
  tookOver(takeover) {
    this.#add(
      "takeover",
      workerName(takeover.worker),
      ` took over ${takeover.shards.length} ${takeover.shards.length === 1 ? "shard" : "shards"}.`,
    );
  }

  /** @param {import("./shapes.js").Plug} plug */
  plugged(plug) {
    const words =
      plug.state === "down"
        ? plug.kind === "kafka"
          ? " was stopped."
          : " was killed."
        : plug.state === "up"
          ? " is up again."
          : " is starting.";
    this.#add("plug", plug.label, words);
  }

  /** @param {"well" | "slow" | "down" | "loses"} mode */
  gateway(mode) {
    const words = {
      well: " answers again.",
      slow: " has become slow.",
      down: " does not answer any more.",
      loses: " does its work, and loses its answers.",
    };
    this.#add("plug", "The gateway", words[mode] ?? ` is ${mode}.`);
  }

  /** @param {string} kind @param {string} id @param {string} text */
  #add(kind, id, text) {
    this.waiting.push({ kind, id, text });
    const wait = this.latest + EVERY_MS - performance.now();
    this.timer ||= setTimeout(() => this.#write(), Math.max(0, wait));
  }

  #write() {
    this.timer = 0;
    this.latest = performance.now();
    const news = this.waiting.splice(0);
    const one = news.length === 1 ? news[0] : null;
    const words = one ? [h("b", {}, one.id), one.text] : counted(news);
    this.list.querySelector(".quiet")?.remove();
    this.list.prepend(h("li", {}, h("time", {}, clock(now(), 1)), h("span", {}, words)));
    while (this.list.children.length > KEPT_MAX) this.list.lastElementChild?.remove();
  }
}

/** Several things of one second: the rare in full, the frequent as numbers. @param {News[]} news */
function counted(news) {
  const rare = news.filter(({ kind }) => kind === "takeover" || kind === "plug");
  const words = rare.flatMap(({ id, text }) => [h("b", {}, id), `${text} `]);
  const counts = Object.entries(COUNTED)
    .map(([kind, word]) => ({ all: news.filter((one) => one.kind === kind), word }))
    .filter(({ all }) => all.length);
  if (counts.length === 1 && counts[0].all.length === 1)
    return [...words, h("b", {}, counts[0].all[0].id), counts[0].all[0].text];
  if (!counts.length) return words;
  const numbers = counts
    .map(({ all, word }) => (all.length === 1 ? `${all[0].id} ${word}` : `${all.length} ${word}`))
    .join(", ");
  return [...words, `${numbers}.`];
}
