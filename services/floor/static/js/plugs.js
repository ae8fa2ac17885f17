/**
 * Pull the plugs: real processes, killed with SIGKILL, and the gateway's moods.
 */

import { h, icon } from "./dom.js";
import { post } from "./api.js";
import { now, since } from "./clock.js";

/** @typedef {import("./shapes.js").Plug} Plug */

const MODES = [
  { mode: "well", label: "Well", tells: "answers at once" },
  { mode: "slow", label: "Slow", tells: "takes its time" },
  { mode: "down", label: "Down", tells: "does not answer" },
  { mode: "loses", label: "Loses answers", tells: "does it, and loses the answer" },
];
const LAMPS = { up: "lamp-up", starting: "lamp-slow", down: "lamp-down" };
const STATES = { up: "up", starting: "starting", down: "down" };

export class Plugs {
  /** @param {import("./store.js").Store} store @param {(text: string, near?: HTMLElement) => void} complain */
  constructor(store, complain) {
    this.store = store;
    this.complain = complain;
    /** @type {Map<string, HTMLElement>} */
    this.rows = new Map();
    this.list = h("div", { class: "plug-list" });
    this.legend = h("p", { class: "legend" });
    this.gate = this.#makeGate();
    this.element = h(
      "section",
      { class: "panel", "aria-labelledby": "h-plugs", id: "plugs" },
      h(
        "header",
        {},
        h("h2", { id: "h-plugs", tabindex: "-1" }, "Pull the plugs"),
        h("span", { class: "faint" }, "real processes, real SIGKILL"),
      ),
      h("div", { class: "plugs" }, this.list, this.gate),
    );
    this.draw();
    this.drawGateway();
  }

  draw() {
    const { plugs } = this.store;
    if (!plugs.length)
      return this.list.replaceChildren(h("p", { class: "dim" }, "Waiting to hear which processes there are."));
    const isComplete = plugs.length === this.rows.size && plugs.every(({ name }) => this.rows.has(name));
    if (!isComplete) {
      this.rows.clear();
      for (const plug of plugs) this.rows.set(plug.name, h("div", { class: "plug", "data-plug": plug.name }));
      this.list.replaceChildren(...this.rows.values());
    }
    for (const plug of plugs) this.#drawPlug(plug, /** @type {HTMLElement} */ (this.rows.get(plug.name)));
  }

  drawGateway() {
    const { gateway } = this.store;
    for (const input of this.gate.querySelectorAll("input")) input.checked = input.value === gateway;
    const mode = MODES.find((one) => one.mode === gateway);
    const lamp = gateway === "well" ? "lamp-up" : gateway === "down" ? "lamp-down" : "lamp-slow";
    this.legend.replaceChildren(
      icon(lamp, "lamp"),
      h("span", {}, "Gateway "),
      h("span", { class: "dim" }, mode?.tells ?? "not to be reached"),
    );
  }

  focus() {
    const button = this.list.querySelector("button");
    this.element.scrollIntoView({ block: "nearest" });
    (button ?? this.element.querySelector("h2"))?.focus();
  }

  /** @param {Plug} plug @param {HTMLElement} row */
  #drawPlug(plug, row) {
    const says = JSON.stringify(plug);
    if (row.dataset.says === says) return;
    const hadFocus = row.contains(document.activeElement);
    row.dataset.says = says;
    row.classList.toggle("is-out", plug.state === "down");
    const action = plug.state === "down" ? "start" : plug.kind === "kafka" ? "stop" : "kill";
    const word = action === "start" ? "Start" : action === "stop" ? "Stop" : "Kill";
    const button = h(
      "button",
      {
        type: "button",
        class: "btn is-small",
        "aria-label": `${word} ${plug.label}`,
        disabled: plug.state === "starting" || !this.store.mayOperate,
        title: this.store.mayOperate ? false : "needs operate",
        onclick: () => this.#pull(plug, action, button),
      },
      word,
    );
    const isPlain = plug.state === "up" && /^(process \d+)?$/.test(plug.note); // Nothing that a person would act on.
    row.classList.toggle("is-plain", isPlain);
    const note =
      plug.note || (plug.state === "down" ? `down since ${since(now() - Date.parse(plug.since))}` : STATES[plug.state]);
    row.replaceChildren(
      icon(LAMPS[plug.state], "lamp"),
      h(
        "div",
        { class: "who-line" },
        plug.label,
        isPlain ? h("small", { class: "vh" }, note) : h("small", { title: note }, note),
      ),
      icon(plug.state === "down" ? "plug-out" : "plug-in", "cord"),
      button,
    );
    if (hadFocus) button.focus();
  }

  /** @param {Plug} plug @param {"kill" | "start" | "stop"} action @param {HTMLElement} button */
  async #pull(plug, action, button) {
    try {
      await post(`/floor/plugs/${encodeURIComponent(plug.name)}`, { action });
    } catch (error) {
      this.complain(`${plug.label} is as it was: ${/** @type {Error} */ (error).message}.`, button);
    }
  }

  #makeGate() {
    const choices = MODES.map(({ mode, label }) =>
      h(
        "label",
        {},
        h("input", {
          type: "radio",
          name: "gateway",
          value: mode,
          onchange: () => this.#setGateway(mode),
        }),
        h("span", {}, label),
      ),
    );
    return h(
      "div",
      { class: "gate", role: "radiogroup", "aria-label": "Gateway" },
      this.legend,
      h("div", { class: "seg" }, choices),
    );
  }

  /** @param {string} mode */
  async #setGateway(mode) {
    try {
      await post("/floor/gateway", { mode });
    } catch (error) {
      this.complain(`The gateway is as it was: ${/** @type {Error} */ (error).message}.`, this.gate);
      this.drawGateway();
    }
  }
}
