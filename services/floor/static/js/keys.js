/**
 * The keyboard. Single keys never fire inside a field, and one switch turns them off.
 */

import { h } from "./dom.js";
import { keep, kept } from "./keeping.js";

const TOGETHER_MS = 1_200; // g, then s
const SHOWN = [
  ["o", "place an order"],
  ["s", "start or stop the stream"],
  ["/", "find an id; Enter or Esc leaves the field"],
  ["j k", "next, previous saga (or the arrows)"],
  ["Enter", "open it"],
  ["p", "pay"],
  ["r", "refuse"],
  ["u", "go to the plugs"],
  ["g f", "shop floor"],
  ["g s", "stuck desk"],
  ["Space", "play, on the page of a saga"],
  ["?", "this list"],
];

export class Keys {
  /** @param {Record<string, () => void>} does by key, or by two keys with a space */
  constructor(does) {
    this.does = does;
    this.isOff = kept("keys") === "off";
    this.first = "";
    this.firstAt = 0;
    this.dialog = this.#makeDialog();
    document.body.append(this.dialog);
    document.addEventListener("keydown", (event) => this.#pressed(event));
    document.body.classList.toggle("no-keys", this.isOff);
  }

  help() {
    this.dialog.showModal();
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (this.isOff || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || this.dialog.open)
      return;
    const target = /** @type {HTMLElement} */ (event.target);
    if (target.closest("input:not([type=radio]):not([type=range]), textarea, select, [contenteditable]")) return;
    const isPair = this.first && performance.now() - this.firstAt < TOGETHER_MS;
    const name = isPair ? `${this.first} ${event.key}` : event.key;
    this.first = "";
    if (!isPair && event.key === "g") {
      this.first = "g";
      this.firstAt = performance.now();
      return;
    }
    if (isTakenBy(target, event.key)) return;
    const does = name === "?" ? () => this.help() : this.does[name];
    if (!does) return;
    event.preventDefault();
    does();
  }

  #makeDialog() {
    const off = h("input", {
      type: "checkbox",
      id: "keys-off",
      onchange: () => {
        this.isOff = !(/** @type {HTMLInputElement} */ (off).checked);
        keep("keys", this.isOff ? "off" : "on");
        document.body.classList.toggle("no-keys", this.isOff);
      },
    });
    /** @type {HTMLInputElement} */ (off).checked = !this.isOff;
    const rows = SHOWN.map(([keys, does]) =>
      h(
        "div",
        {},
        h(
          "dt",
          {},
          keys.split(" ").flatMap((one) => [h("kbd", {}, one), " "]),
        ),
        h("dd", {}, does),
      ),
    );
    const close = h("button", { type: "button", class: "btn", onclick: () => dialog.close() }, "Close");
    const dialog = /** @type {HTMLDialogElement} */ (
      h(
        "dialog",
        { class: "all-keys", "aria-labelledby": "h-keys" },
        h("h2", { id: "h-keys" }, "Keys"),
        h("dl", {}, rows),
        h("label", { class: "keys-switch", for: "keys-off" }, off, " Single keys are on"),
        close,
      )
    );
    return dialog;
  }
}

/** Radios and the range have keys of their own; Enter and Space belong to what has the focus. @param {HTMLElement} target @param {string} key */
function isTakenBy(target, key) {
  if (key.startsWith("Arrow") || key === "Home" || key === "End")
    return Boolean(target.closest("input, [role=radiogroup], .trace, .journal-box"));
  return (key === " " || key === "Enter") && Boolean(target.closest("a, button, input, summary"));
}
