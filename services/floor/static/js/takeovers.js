/**
 * Takeovers, gathered from the seams of the sagas: one process that takes over many sagas is one event in the list.
 */

/** @typedef {import("./shapes.js").Outline} Outline */
/** @typedef {{worker: string, at: number, sagas: Set<string>}} Takeover */

const TOGETHER_MS = 3_000;
const KEPT_MAX = 50;

export class Takeovers {
  constructor() {
    /** The latest first. @type {Takeover[]} */
    this.list = [];
    /** @type {Map<string, Takeover>} */
    this.ofSeam = new Map();
  }

  /** Whether it brought one that was not known. @param {Outline} outline */
  learn(outline) {
    let isNew = false;
    for (const seam of outline.seams) {
      const key = `${outline.id} ${seam.takeover_id}`;
      if (this.ofSeam.has(key)) continue;
      const at = Date.parse(seam.at);
      let found = this.list.find((one) => one.worker === seam.worker && Math.abs(one.at - at) < TOGETHER_MS);
      if (!found) {
        found = { worker: seam.worker, at, sagas: new Set() };
        this.list.push(found);
        this.list.sort((one, other) => other.at - one.at);
        this.#trim();
        isNew = true;
      }
      found.sagas.add(outline.id);
      this.ofSeam.set(key, found);
    }
    return isNew;
  }

  /** The seam of a saga that belongs to a takeover. @param {Outline} outline @param {Takeover} takeover */
  seamOf(outline, takeover) {
    return outline.seams.find((seam) => this.ofSeam.get(`${outline.id} ${seam.takeover_id}`) === takeover);
  }

  #trim() {
    for (const gone of this.list.splice(KEPT_MAX))
      for (const [key, one] of this.ofSeam) if (one === gone) this.ofSeam.delete(key);
  }
}
