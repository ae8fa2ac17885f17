/**
 * The player: it moves through a tale, and every part of the picture knows when it moves.
 *
 * Who asked for no motion gets one sentence a press.
 */

import { h, icon } from "./dom.js";
import { clock } from "./clock.js";

/** @typedef {import("./telling.js").Tale} Tale */
/**
 * grow: from nothing to whole between two times; show, hide: at a time; closed: its book is ruled off; says: text by time.
 * @typedef {{el: Element, grow?: [number, number], isBack?: boolean, show?: number, hide?: number, closed?: number, says?: [number, string][]}} Part
 */

const FOLLOW_RATE = 2; // what is new while one looks is told faster than a tale from its beginning

export class Player {
  constructor() {
    this.word = h("span", {}, "Play");
    this.button = h(
      "button",
      { type: "button", class: "btn always", onclick: () => this.press() },
      icon("i-running", ""),
      this.word,
    );
    this.range = /** @type {HTMLInputElement} */ (
      h("input", { id: "seek", type: "range", min: "0", max: "1000", value: "1000", oninput: () => this.#seek() })
    );
    this.output = h("output", { for: "seek" });
    this.element = h(
      "div",
      { class: "player" },
      this.button,
      h("label", { class: "vh", for: "seek" }, "Moment of the story"),
      this.range,
      this.output,
    );
    this.now = h("p", { class: "now", "aria-live": "polite" });
    this.list = h("ol", { class: "vh", "aria-label": "The story" });
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.upright = matchMedia("(max-width: 720px)");
    this.upright.addEventListener("change", () => this.draw());
    /** @type {Tale} */
    this.tale = { moments: [], times: new Map(), seams: [], foldT: null, end: 0 };
    /** @type {Part[]} */
    this.parts = [];
    this.t = 0;
    this.rate = 1;
    this.isPlaying = false;
    this.line = -1;
  }

  /** A new picture. Who was at its end sees what is new happen; who looks at an earlier moment stays there. @param {Tale} tale @param {Part[]} parts @param {boolean} isFirst */
  load(tale, parts, isFirst) {
    const wasAtEnd = isFirst || this.t >= this.tale.end - 0.01;
    const known = this.tale.moments.length;
    const from = tale.moments[known]?.t;
    this.tale = tale;
    this.parts = parts;
    this.line = -1;
    this.list.replaceChildren(...tale.moments.map(({ text }) => h("li", {}, text)));
    if (isFirst || this.calm.matches || from === undefined || !wasAtEnd) {
      if (wasAtEnd) this.t = tale.end;
      this.t = Math.min(this.t, tale.end);
      this.draw();
      this.#label();
      return;
    }
    this.t = Math.max(0, from - 0.3);
    this.#play(FOLLOW_RATE);
  }

  press() {
    if (this.calm.matches) return this.#step();
    if (this.isPlaying) return this.stop();
    if (this.t >= this.tale.end) this.t = 0;
    this.#play(1);
  }

  stop() {
    this.isPlaying = false;
    this.#label();
  }

  draw() {
    for (const part of this.parts) this.#drawPart(part);
    const { moments, end } = this.tale;
    if (!moments.length) return;
    const at = Math.max(
      0,
      moments.findLastIndex(({ t }) => t <= this.t),
    );
    if (at !== this.line) {
      this.line = at;
      this.now.textContent = moments[at].text;
      this.range.setAttribute("aria-valuetext", moments[at].text);
    }
    this.output.textContent = clock(this.#realTime(at), 2);
    this.range.value = String(Math.round((1000 * this.t) / Math.max(0.01, end)));
  }

  /** @param {number} at */
  #realTime(at) {
    const [one, next] = [this.tale.moments[at], this.tale.moments[at + 1]];
    if (!next || next.t <= one.t) return one.at;
    return one.at + (next.at - one.at) * Math.min(1, Math.max(0, (this.t - one.t) / (next.t - one.t)));
  }

  /** @param {Part} part */
  #drawPart({ el, grow, isBack, show, hide, closed, says }) {
    if (grow) this.#grow(/** @type {HTMLElement} */ (el), grow, isBack ?? false);
    if (show !== undefined || hide !== undefined)
      el.classList.toggle("is-off", this.t < (show ?? -1) || this.t >= (hide ?? Infinity));
    if (closed !== undefined) el.classList.toggle("is-closed", this.t >= closed);
    if (says) {
      const text = says.findLast(([at]) => this.t >= at)?.[1] ?? "";
      if (el.textContent !== text) el.textContent = text;
    }
  }

  /** Forward grows to the right, on a phone down; back grows to the left, or up. Texture is cut, never squeezed. @param {HTMLElement} el @param {[number, number]} grow @param {boolean} isBack */
  #grow(el, [from, to], isBack) {
    const rest = 100 * (1 - Math.min(1, Math.max(0, (this.t - from) / Math.max(0.01, to - from))));
    const side = this.upright.matches ? (isBack ? 0 : 2) : isBack ? 3 : 1;
    const inset = [-6, -6, -6, -6].map((px, i) => (i === side ? `${rest.toFixed(2)}%` : `${px}px`));
    el.style.setProperty("visibility", rest >= 100 ? "hidden" : "");
    el.style.setProperty("clip-path", rest > 0 ? `inset(${inset.join(" ")})` : "");
  }

  /** @param {number} rate */
  #play(rate) {
    this.rate = rate;
    if (this.isPlaying) return;
    this.isPlaying = true;
    this.last = performance.now();
    this.#label();
    requestAnimationFrame((ms) => this.#frame(ms));
  }

  /** @param {number} ms */
  #frame(ms) {
    if (!this.isPlaying) return;
    this.t = Math.min(this.tale.end, this.t + (Math.max(0, ms - (this.last ?? ms)) * this.rate) / 1000);
    this.last = ms;
    this.draw();
    if (this.t >= this.tale.end) this.stop();
    else requestAnimationFrame((next) => this.#frame(next));
  }

  #step() {
    const { moments, end } = this.tale;
    const next = moments.find(({ t }) => t > this.t + 0.001);
    if (this.t >= end) this.t = 0;
    else this.t = next && next !== moments.at(-1) ? next.t : end;
    this.draw();
    this.#label();
  }

  #seek() {
    this.t = (Number(this.range.value) * this.tale.end) / 1000;
    this.stop();
    this.draw();
  }

  #label() {
    const isOver = this.t >= this.tale.end;
    if (this.calm.matches) this.word.textContent = isOver ? "Again" : "Next";
    else
      this.word.textContent = this.isPlaying && this.rate === 1 ? "Pause" : isOver || this.isPlaying ? "Play" : "Go on";
  }
}
