/**
 * The headline: whether the money is right, and the sum that it follows from.
 */

import { h } from "./dom.js";
import { CURRENCY, amount, cents, grouped, shown } from "./money.js";
import { clock } from "./clock.js";

const NAMED_MAX = 5;

export class Proof {
  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.store = store;
    this.element = h("section", { class: "proof", "aria-label": "Is the money right?" });
    this.draw();
  }

  draw() {
    const { totals } = this.store;
    if (!totals) {
      this.element.replaceChildren(
        h(
          "div",
          {},
          h("h1", {}, "The books are being read"),
          h("p", { class: "proof-sub" }, "They come from the services’ own tables and the gateway’s own book."),
        ),
      );
      return;
    }
    const adrift = cents(totals.adrift);
    const sign = adrift < 0n ? "−" : "";
    const headline = h("h1", {}, h("b", {}, `${sign}${CURRENCY} ${amount(adrift < 0n ? -adrift : adrift)}`), " adrift");
    const isAdrift = adrift !== 0n || totals.adrift_orders.length > 0; // The sum is signed: two may hide each other.
    this.element.classList.toggle("is-adrift", isAdrift);
    this.element.replaceChildren(
      h("div", {}, headline, h("p", { class: "proof-sub" }, isAdrift ? this.#whence(totals) : SOUND)),
      sum(totals),
    );
  }

  /** Never hidden: since when, and which orders it comes from. @param {import("./shapes.js").Totals} totals */
  #whence(totals) {
    const named = totals.adrift_orders.slice(0, NAMED_MAX);
    const links = named.flatMap((id, at) => [at ? ", " : "", h("a", { href: `#/saga/${encodeURIComponent(id)}` }, id)]);
    const more = totals.adrift_orders.length - named.length;
    const rest = more > 0 ? ` and ${grouped(more)} more` : "";
    if (named.length && named.every((id) => this.#isLeft(id)) && !more)
      return h("span", {}, "A person decided to leave it with the gateway: ", links, ". Their notes say why.");
    const begin = `Since ${clock(this.store.adriftSince)} the books do not add up`;
    return h("span", {}, begin, links.length ? ": " : ".", links, rest);
  }

  /** Whether an undo of this order was left as it is, on somebody's word. @param {string} id */
  #isLeft(id) {
    const outline = this.store.outlines.get(id);
    return Boolean(outline?.ended_at && outline.ops.some((op) => op.undo?.state === "left"));
  }
}

const SOUND = "Every ringgit in the gateway’s book has an order or an open saga behind it.";

/** The signs between the figures are drawn by the style: a list of terms holds nothing else. @param {import("./shapes.js").Totals} totals */
function sum(totals) {
  const part = (/** @type {string} */ name, /** @type {string} */ figure, /** @type {string} */ box, className = "") =>
    h("div", { class: box }, h("dt", {}, name), h("dd", { class: className || false }, figure));
  const open = `open in ${grouped(totals.open_count)} ${totals.open_count === 1 ? "saga" : "sagas"}`;
  return h(
    "dl",
    { class: "sum" },
    part("taken", shown(totals.taken), "first"),
    part("given back", shown(totals.back), "minus", "amt-undo"),
    part("orders delivered", shown(totals.delivered), "minus"),
    part(open, shown(totals.open), "minus", "amt-open"),
    part("adrift", shown(totals.adrift), "equals"),
  );
}
