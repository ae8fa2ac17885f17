/**
 * What could not be done, said beside the button that was pressed, in words of what is unchanged.
 */

import { h } from "./dom.js";

const SHOWN_MS = 12_000;

export class Complaints {
  constructor() {
    this.text = h("span");
    this.element = h(
      "div",
      { class: "complaint", role: "alert", hidden: true },
      this.text,
      h("button", { type: "button", class: "btn is-small is-quiet", onclick: () => this.hide() }, "Close"),
    );
    this.timer = 0;
  }

  /** @param {string} text @param {HTMLElement} [near] */
  say(text, near) {
    clearTimeout(this.timer);
    this.element.hidden = false;
    this.text.textContent = text;
    const box = near?.isConnected ? near.getBoundingClientRect() : null;
    const left = Math.max(8, Math.min(box?.left ?? 24, innerWidth - this.element.offsetWidth - 8));
    const top = box ? Math.min(box.bottom + 6, innerHeight - this.element.offsetHeight - 8) : 64;
    this.element.style.setProperty("left", `${left}px`);
    this.element.style.setProperty("top", `${Math.max(8, top)}px`);
    this.timer = setTimeout(() => this.hide(), SHOWN_MS);
  }

  hide() {
    this.element.hidden = true;
  }
}
