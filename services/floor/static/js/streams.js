/**
 * The two streams: what the sagas do, and what the floor knows. No polling: a list is loaded when a stream has begun, so
 * that nothing falls between them, and again when the server says that something was missed.
 *
 * A page that nobody looks at gives its connections back after a while: a browser has six of them for one server.
 */

import { eachOutline, get, PRODUCT } from "./api.js";
import { ROWS_MAX } from "./store.js";

const AGAIN_MS = 1_500;
const LET_GO_MS = 60_000;

export class Streams {
  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.store = store;
    /** @type {EventSource[]} */
    this.sources = [];
    /** @type {AbortController | null} */
    this.loading = null;
    this.letGo = 0;
    /** @type {Set<(takeover: import("./shapes.js").Takeover) => void>} */
    this.takeoverListeners = new Set();
  }

  start() {
    this.#open();
    document.addEventListener("visibilitychange", () => this.#seen());
  }

  #open() {
    this.sources = [this.#sagas(), this.#floor()];
  }

  #close() {
    for (const source of this.sources) source.close();
    this.sources = [];
  }

  #seen() {
    clearTimeout(this.letGo);
    if (document.hidden) this.letGo = setTimeout(() => this.#close(), LET_GO_MS);
    else if (!this.sources.length) this.#open();
  }

  #sagas() {
    const source = new EventSource(`${PRODUCT}/v1/events`);
    listen(source, {
      open: () => this.#load(),
      reset: () => this.#load(),
      saga: (data) => this.store.putOutline(data),
      takeover: (data) => {
        for (const listener of this.takeoverListeners) listener(data);
      },
    });
    this.#watch(source, "sagas", () => this.#sagas());
    return source;
  }

  #floor() {
    const source = new EventSource("/floor/events");
    const { store } = this;
    listen(source, {
      all: (data) => {
        store.putBooks(data.orders, data.totals);
        store.patch("plugs", () => {
          store.plugs = data.plugs;
        });
        store.patch("gateway", () => {
          store.gateway = data.gateway.mode ?? "";
        });
        store.patch("breaker", () => {
          store.breaker = data.breaker;
        });
        store.patch("pace", () => {
          store.pace = [...data.pace];
        });
        store.patch("stream", () => {
          store.perS = data.stream_per_s;
        });
      },
      books: (data) => store.putBooks(data.orders, data.totals),
      plug: (data) =>
        store.patch("plugs", () => {
          store.plugs = replaced(store.plugs, data);
        }),
      gateway: (data) =>
        store.patch("gateway", () => {
          store.gateway = data.mode ?? "";
        }),
      breaker: (data) =>
        store.patch("breaker", () => {
          store.breaker = data;
        }),
      pace: (data) => store.putPace(data),
      stream: (data) =>
        store.patch("stream", () => {
          store.perS = data.per_s;
        }),
    });
    this.#watch(source, "floor", () => this.#floor());
    return source;
  }

  /**
   * EventSource connects again by itself, unless the server answered with an error: then we do.
   * @param {EventSource} source
   * @param {"sagas" | "floor"} name
   * @param {() => EventSource} again
   */
  #watch(source, name, again) {
    source.addEventListener("open", () => this.#connected(name, true));
    source.addEventListener("error", () => {
      this.#connected(name, false);
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(() => {
        const at = this.sources.indexOf(source);
        if (at >= 0) this.sources[at] = again();
      }, AGAIN_MS);
    });
  }

  /** @param {"sagas" | "floor"} name @param {boolean} isUp */
  #connected(name, isUp) {
    const { store } = this;
    store.patch("connection", () => {
      const wasUp = store.connection.sagas && store.connection.floor;
      store.connection = { ...store.connection, [name]: isUp };
      const isLive = store.connection.sagas && store.connection.floor;
      if (isLive) store.connection.lostAt = 0;
      else if (wasUp || !store.connection.lostAt) store.connection.lostAt = Date.now();
    });
  }

  /** The newest first, so that the top of the list is there at once; the rest follows page by page. */
  async #load() {
    this.loading?.abort();
    const loading = (this.loading = new AbortController());
    const { store } = this;
    try {
      const { role } = await get(`${PRODUCT}/v1/caller`);
      store.patch("role", () => {
        store.mayOperate = role === "operate";
      });
      await eachOutline(
        {},
        ROWS_MAX,
        (outlines) => {
          for (const outline of outlines) store.putOutline(outline);
          store.patch("loaded", () => {
            store.isLoaded = true;
          });
        },
        loading.signal,
      );
    } catch (error) {
      if (loading.signal.aborted) return;
      setTimeout(() => {
        if (this.loading === loading) this.#load();
      }, AGAIN_MS);
    }
  }
}

/** @param {EventSource} source @param {Record<string, (data: any) => void>} handlers */
function listen(source, handlers) {
  for (const [name, handle] of Object.entries(handlers)) {
    // `open` is also what EventSource calls its own beginning: that one carries no data.
    source.addEventListener(name, (event) => {
      if (event instanceof MessageEvent) handle(JSON.parse(event.data));
    });
  }
}

/** @template {{name: string}} T @param {T[]} list @param {T} one @returns {T[]} */
function replaced(list, one) {
  const isKnown = list.some(({ name }) => name === one.name);
  return isKnown ? list.map((other) => (other.name === one.name ? one : other)) : [...list, one];
}
