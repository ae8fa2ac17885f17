/**
 * Place an order: one that goes well, or one with a trouble of your choice.
 */

import { h } from "./dom.js";
import { post } from "./api.js";

const TROUBLES = [
  { trouble: "out_of_stock", label: "Out of stock", tells: "the kitchen says no, the order is taken back" },
  { trouble: "dispute", label: "A refund in dispute", tells: "refuse the payment, and the way back gets stuck" },
  { trouble: "no_courier", label: "No courier", tells: "stuck after the point of no way back" },
];

export class Placing {
  /** @param {(text: string, near?: HTMLElement) => void} complain */
  constructor(complain) {
    this.complain = complain;
    this.main = h(
      "button",
      { type: "button", class: "btn is-main", onclick: () => this.place("none") },
      "Place an order ",
      h("kbd", { "aria-hidden": "true" }, "o"),
    );
    this.menu = h(
      "div",
      { class: "menu", id: "troubles", hidden: true, role: "group", "aria-label": "Orders with a trouble" },
      TROUBLES.map(({ trouble, label, tells }) =>
        h(
          "button",
          {
            type: "button",
            onclick: () => {
              this.#toggle(false);
              this.place(trouble);
            },
          },
          h("b", {}, label),
          h("small", {}, tells),
        ),
      ),
    );
    this.opener = h(
      "button",
      {
        type: "button",
        class: "btn is-main is-opener",
        "aria-label": "Place one with a trouble",
        "aria-expanded": "false",
        "aria-controls": "troubles",
        onclick: () => this.#toggle(this.menu.hidden),
      },
      h("span", { class: "only-narrow" }, "With a trouble "),
      "▾",
    );
    this.element = h("div", { class: "placing" }, this.main, this.opener, this.menu);
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || this.menu.hidden) return;
      this.#toggle(false);
      this.opener.focus();
    });
    document.addEventListener("click", (event) => {
      if (!this.element.contains(/** @type {Node} */ (event.target))) this.#toggle(false);
    });
  }

  /** @param {string} trouble */
  async place(trouble) {
    try {
      await post("/floor/orders", trouble === "none" ? {} : { trouble });
    } catch (error) {
      this.complain(`No order was placed: ${/** @type {Error} */ (error).message}.`, this.main);
    }
  }

  /** @param {boolean} isOpen */
  #toggle(isOpen) {
    this.menu.hidden = !isOpen;
    this.opener.setAttribute("aria-expanded", String(isOpen));
  }
}
