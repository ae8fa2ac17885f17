/**
 * The page: one store, two streams, three views. Every part draws what it is told has changed.
 */

import { h, say } from "./dom.js";
import { Store } from "./store.js";
import { Streams } from "./streams.js";
import { Takeovers } from "./takeovers.js";
import { Kills } from "./kills.js";
import { Proof } from "./proof.js";
import { Board } from "./board.js";
import { Plugs } from "./plugs.js";
import { Meters } from "./meters.js";
import { Log } from "./log.js";
import { Connection } from "./connection.js";
import { Complaints } from "./complaints.js";
import { SagaView } from "./saga.js";
import { DeskView } from "./desk.js";
import { Keys } from "./keys.js";
import { themeSwitch } from "./theme.js";
import { placeOf } from "./routes.js";

const TICK_MS = 1_000;

class Page {
  constructor() {
    this.store = new Store();
    this.takeovers = new Takeovers();
    this.kills = new Kills();
    this.streams = new Streams(this.store);
    this.complaints = new Complaints();
    const complain = (/** @type {string} */ text, /** @type {HTMLElement | undefined} */ near) =>
      this.complaints.say(text, near);
    this.connection = new Connection(this.store);
    this.proof = new Proof(this.store);
    this.board = new Board(this.store, this.takeovers, this.kills, complain);
    this.plugs = new Plugs(this.store, complain);
    this.meters = new Meters(this.store);
    this.log = new Log(this.store);
    this.saga = new SagaView(this.store, this.kills, complain);
    this.desk = new DeskView(this.store, complain);
    this.main = /** @type {HTMLElement} */ (document.querySelector("main"));
    this.#furnish();
    this.floor = [
      this.proof.element,
      h(
        "div",
        { class: "floor" },
        this.board.element,
        h("div", { class: "side" }, this.plugs.element, this.log.element, this.meters.element),
      ),
      this.#dock(),
    ];
    this.keys = new Keys(this.#keys());
    this.store.subscribe((changes) => this.#update(changes));
    this.streams.takeoverListeners.add((takeover) => this.log.tookOver(takeover));
    addEventListener("hashchange", () => this.#go(true));
    setInterval(() => this.#tick(), TICK_MS);
    this.#go(false);
    this.streams.start();
  }

  /** The top bar's moving parts. */
  #furnish() {
    document.querySelector(".top-end")?.append(this.connection.element, themeSwitch());
    document.querySelector(".top")?.after(this.connection.line);
    document.body.append(this.complaints.element);
    document.querySelector(".skip")?.addEventListener("click", (event) => {
      event.preventDefault(); // The address names the view, so a link can't jump within it.
      this.main.focus();
    });
    this.deskCount = h("span", { class: "count", hidden: true });
    document.querySelector('[data-nav="desk"]')?.append(this.deskCount);
  }

  #dock() {
    return h(
      "div",
      { class: "dock" },
      h(
        "button",
        { type: "button", class: "btn is-main", onclick: () => this.board.placing.place("none") },
        "Place an order",
      ),
      h("button", { type: "button", class: "btn", onclick: () => this.plugs.focus() }, "Pull a plug"),
    );
  }

  /** @param {import("./store.js").Changes} changes */
  #update(changes) {
    this.#learn(changes);
    const { parts } = changes;
    if (parts.has("connection")) this.connection.draw();
    if (changes.sagas.size) this.#drawDeskCount();
    if (this.place.view === "board") {
      if (parts.has("books") || (changes.sagas.size && this.store.adriftSince)) this.proof.draw();
      if (parts.has("plugs")) this.plugs.draw();
      if (parts.has("gateway")) this.plugs.drawGateway();
      if (parts.has("breaker")) this.meters.drawBreaker();
      if (parts.has("pace")) this.meters.drawPace();
      this.board.update(changes);
    }
    if (this.place.view === "saga") this.saga.update(changes);
    if (this.place.view === "desk") this.desk.update(changes);
  }

  /** @param {import("./store.js").Changes} changes */
  #learn(changes) {
    const wasLoaded = this.wasLoaded;
    this.wasLoaded = this.store.isLoaded;
    for (const id of changes.sagas) {
      const outline = this.store.outlines.get(id);
      if (!outline) continue;
      if (this.takeovers.learn(outline)) changes.rows = true;
      if (wasLoaded && changes.before.has(id)) this.log.saw(outline, changes.before.get(id));
    }
    if (changes.parts.has("plugs")) for (const plug of this.kills.learn(this.store.plugs)) this.log.plugged(plug);
    if (changes.parts.has("gateway") && this.gatewayWas !== this.store.gateway) {
      if (this.gatewayWas) this.log.gateway(/** @type {"well"} */ (this.store.gateway));
      this.gatewayWas = this.store.gateway;
    }
  }

  #drawDeskCount() {
    const { deskCount } = this;
    if (!deskCount) return;
    const count = this.store.needing().length;
    deskCount.hidden = count === 0;
    deskCount.className = count ? "count is-stuck" : "count";
    say(deskCount, String(count));
  }

  /** At once: what is typed behind a key belongs there already, and `hashchange` comes later. @param {string} hash */
  #open(hash) {
    const { view, id } = placeOf(hash);
    if (view === this.place.view && id === this.place.id) return;
    history.pushState(null, "", hash);
    this.#go(true);
  }

  /** @param {boolean} isMove whether a person went there, so that the focus follows */
  #go(isMove) {
    this.place = placeOf(location.hash);
    const { view, id } = this.place;
    for (const link of document.querySelectorAll("[data-nav]")) {
      const isHere = /** @type {HTMLElement} */ (link).dataset.nav === (view === "lost" ? "" : view);
      if (isHere) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    this.#drawSagaLink(view === "saga" ? id : "");
    this.main.replaceChildren(...this.#viewed(view, id));
    document.title = `${{ board: "Shop floor", saga: id, desk: "Stuck desk", lost: "Not found" }[view]} · Amends`;
    this.connection.draw();
    if (view === "board") this.#drawAll();
    if (isMove) {
      this.main.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
  }

  /** @param {"board" | "saga" | "desk" | "lost"} view @param {string} id @returns {Node[]} */
  #viewed(view, id) {
    if (view !== "saga") this.saga.close();
    if (view === "board") return this.floor;
    if (view === "saga") return this.saga.open(id);
    if (view === "desk") return this.desk.open(id);
    return [
      h(
        "section",
        { class: "missing" },
        h("h1", {}, "There is no such page"),
        h("p", {}, h("span", { class: "mono" }, id), " leads nowhere here."),
        h("p", {}, h("a", { href: "#/" }, "To the shop floor")),
      ),
    ];
  }

  /** The saga that was looked at last stays in reach. @param {string} id */
  #drawSagaLink(id) {
    const link = /** @type {HTMLAnchorElement | null} */ (document.querySelector('[data-nav="saga"]'));
    if (!link) return;
    if (id) {
      link.hash = `#/saga/${encodeURIComponent(id)}`;
      link.hidden = false;
    } else if (!link.hash || link.hash === "#/") link.hidden = true;
  }

  #drawAll() {
    this.proof.draw();
    this.plugs.draw();
    this.plugs.drawGateway();
    this.meters.drawBreaker();
    this.meters.drawPace();
    this.board.reopen();
  }

  #tick() {
    if (document.hidden) return;
    this.connection.tick();
    if (this.place.view === "board") {
      this.board.tick();
      if (this.store.breaker?.state === "open") this.meters.drawBreaker();
    }
    if (this.place.view === "saga") this.saga.tick();
  }

  /** @returns {Record<string, () => void>} */
  #keys() {
    const onBoard = (/** @type {() => void} */ does) => () => {
      if (this.place.view === "board") does();
    };
    const move = (/** @type {number} */ by) => onBoard(() => this.board.list.move(by));
    return {
      o: () => this.board.placing.place("none"),
      s: () => this.board.toggleStream(),
      "/": () => {
        this.#open("#/");
        this.board.filters.input.focus();
      },
      j: move(1),
      ArrowDown: move(1),
      k: move(-1),
      ArrowUp: move(-1),
      p: () => this.#answer("pay"),
      r: () => this.#answer("refuse"),
      u: () => {
        this.#open("#/");
        this.plugs.focus();
      },
      "g s": () => this.#open("#/desk"),
      "g f": () => this.#open("#/"),
      " ": () => {
        if (this.place.view === "saga") this.saga.play();
      },
      Escape: () => {
        if (this.place.view === "saga") this.#open("#/");
      },
    };
  }

  /** @param {"pay" | "refuse"} answer */
  #answer(answer) {
    if (this.place.view === "board") this.board.answerChosen(answer);
    if (this.place.view === "saga") this.saga.answer(answer);
  }

  wasLoaded = false;
  gatewayWas = "";
  /** @type {import("./routes.js").Place} */
  place = placeOf(location.hash);
  /** @type {HTMLElement | null} */
  deskCount = null;
}

new Page();
