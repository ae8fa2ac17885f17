/**
 * Which rows are shown: a group, and what is typed into the search field.
 */

import { h, icon, say } from "./dom.js";
import { grouped } from "./money.js";

/** @typedef {import("./store.js").Store} Store */

const GROUPS = [
  { name: "all", label: "All", icon: "" },
  { name: "needs", label: "Needs you", icon: "i-stuck" },
  { name: "running", label: "Running", icon: "i-running" },
  { name: "undoing", label: "Undoing", icon: "i-undoing" },
  { name: "completed", label: "Completed", icon: "i-completed" },
  { name: "undone", label: "Undone", icon: "i-undone" },
];

export class Filters {
  /** @param {Store} store @param {() => void} onChange */
  constructor(store, onChange) {
    this.store = store;
    this.group = "all";
    this.text = "";
    this.counts = new Map(GROUPS.map(({ name }) => [name, h("b")]));
    this.buttons = GROUPS.map((group) =>
      h(
        "button",
        {
          type: "button",
          "aria-pressed": String(group.name === "all"),
          "data-group": group.name,
          onclick: () => {
            this.choose(group.name);
            onChange();
          },
        },
        group.icon && icon(group.icon),
        group.label,
        /** @type {HTMLElement} */ (this.counts.get(group.name)),
      ),
    );
    this.element = h("div", { class: "filters", role: "group", "aria-label": "Show" }, this.buttons);
    this.input = /** @type {HTMLInputElement} */ (
      h("input", {
        type: "search",
        placeholder: "Find an id",
        spellcheck: "false",
        autocomplete: "off",
        oninput: () => {
          this.text = this.input.value.trim();
          onChange();
        },
        // Escape empties the field (the browser does that), and leaves it when it is empty.
        onkeydown: (/** @type {KeyboardEvent} */ event) => {
          if (event.key === "Enter" || (event.key === "Escape" && !this.input.value)) this.input.blur();
        },
      })
    );
    this.find = h(
      "label",
      { class: "find" },
      h("span", { class: "vh" }, "Find by id"),
      this.input,
      h("kbd", { "aria-hidden": "true" }, "/"),
    );
  }

  /** @param {string} group */
  choose(group) {
    this.group = group;
    this.buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.group === group)));
  }

  clear() {
    this.choose("all");
    this.text = this.input.value = "";
  }

  drawCounts() {
    const counts = this.store.counts();
    for (const [name, element] of this.counts) say(element, grouped(counts[/** @type {keyof typeof counts} */ (name)]));
  }

  /** The ids that are shown, the newest first. */
  rows() {
    const { order, groups, books } = this.store;
    if (this.group === "all" && !this.text) return order;
    const text = this.text.toLowerCase();
    return order.filter(
      (id) =>
        (this.group === "all" || groups.get(id) === this.group) &&
        (!text || id.toLowerCase().includes(text) || Boolean(books.get(id)?.customer.toLowerCase().includes(text))),
    );
  }

  /** What to say when nothing is shown. */
  nothing() {
    if (this.text) return `No saga here has “${this.text}” in its id.`;
    switch (this.group) {
      case "needs":
        return "None is stuck.";
      case "running":
        return "None is running.";
      case "undoing":
        return "None is being undone.";
      case "completed":
        return "None has completed yet.";
      default:
        return "None was undone.";
    }
  }
}
