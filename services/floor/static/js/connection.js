/**
 * The lamp: live, or lost since when; and one line under the top bar for what else a person should know.
 */

import { h, icon } from "./dom.js";
import { clock, now, skew, since } from "./clock.js";

export class Connection {
  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.store = store;
    this.words = h("span", { role: "status" });
    this.time = h("span", { class: "long", "aria-hidden": "true" });
    this.lamp = h("span", { class: "lamp-box" });
    this.element = h("span", { class: "live" }, this.lamp, this.words, this.time);
    this.line = h("p", { class: "notice", role: "status", hidden: true });
    this.draw();
  }

  isLive() {
    const { sagas, floor } = this.store.connection;
    return sagas && floor;
  }

  draw() {
    const { lostAt } = this.store.connection;
    const isLive = this.isLive();
    const words = isLive ? "Live" : lostAt ? `Connection lost ${clock(lostAt)}, trying again` : "Connecting";
    if (this.words.textContent !== words) {
      this.words.textContent = words;
      this.lamp.replaceChildren(icon(isLive ? "lamp-up" : "lamp-slow", "lamp"));
      document.body.classList.toggle("is-lost", !isLive && this.store.hasBooks);
    }
    const wrong = Math.abs(skew()) > 0;
    this.line.hidden = !wrong;
    if (wrong)
      this.line.textContent = `This machine’s clock is ${since(Math.abs(skew()))} ${skew() > 0 ? "behind" : "ahead of"} the server’s; times here are the server’s.`;
    this.tick();
  }

  tick() {
    this.time.textContent = this.isLive() ? `, ${clock(now())}` : "";
  }
}
