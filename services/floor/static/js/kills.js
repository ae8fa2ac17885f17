/**
 * When processes went down, as the page saw it: a takeover that follows closely was caused by it.
 */

/** @typedef {import("./shapes.js").Plug} Plug */

const CAUSED_WITHIN_MS = 60_000;
const CLOCKS_MS = 500; // the takeover's time is the database's, the kill's is the keeper's
const KEPT_MAX = 50;

export class Kills {
  constructor() {
    /** The latest first. @type {{name: string, label: string, at: number}[]} */
    this.list = [];
    /** @type {Map<string, string>} */
    this.states = new Map();
  }

  /** Note what went down. Returns what changed since the last time. @param {Plug[]} plugs */
  learn(plugs) {
    /** @type {Plug[]} */
    const changed = [];
    for (const plug of plugs) {
      const before = this.states.get(plug.name);
      this.states.set(plug.name, plug.state);
      if (before === plug.state) continue;
      if (before !== undefined) changed.push(plug);
      if (plug.state !== "down" || !plug.name.includes("orchestrator")) continue;
      this.list.unshift({ name: plug.name, label: plug.label, at: Date.parse(plug.since) || Date.now() });
      this.list.splice(KEPT_MAX);
    }
    return changed;
  }

  /** Who took over, if only one can have. @param {string} killed @param {Plug[]} plugs */
  winner(killed, plugs) {
    const others = plugs.filter(({ name }) => name.includes("orchestrator") && name !== killed);
    return others.length === 1 ? others[0].label : "Another one";
  }

  /** What was killed shortly before. @param {number} at */
  before(at) {
    return this.list.find((kill) => kill.at <= at + CLOCKS_MS && at - kill.at < CAUSED_WITHIN_MS);
  }
}
