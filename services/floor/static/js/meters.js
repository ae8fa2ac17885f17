/**
 * The breaker before the gateway, and how many steps a second go forward and back.
 */

import { h, s } from "./dom.js";
import { now, since } from "./clock.js";

const CALLS_SHOWN = 20;
const POINTS = 60;
const UP_PX = 40;
const DOWN_PX = 14;
const AXIS_PX = 41;

export class Meters {
  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.store = store;
    this.breaker = h("div", { class: "meter" });
    this.pace = h("div", { class: "meter" });
    this.element = h("section", { class: "panel", "aria-label": "Breaker and throughput" }, this.breaker, this.pace);
    this.drawBreaker();
    this.drawPace();
  }

  drawBreaker() {
    const { breaker } = this.store;
    if (!breaker?.window) return this.breaker.replaceChildren(h("h2", {}, "Breaker"), h("p", {}, "Not heard of yet."));
    const calls = breaker.window.slice(-CALLS_SHOWN);
    const heading = h("h2", {}, "Breaker ", switchOf(breaker.state), h("span", {}, stateWords(breaker)));
    const drawn = s(
      "svg",
      { height: 16, role: "img", "aria-label": callsWords(calls) },
      ...calls.flatMap((call, at) => callMark(call, at + CALLS_SHOWN - calls.length)),
    );
    const failed = calls.filter((call) => call !== "ok").length;
    const of =
      calls.length === CALLS_SHOWN
        ? `the last ${CALLS_SHOWN} calls`
        : `${calls.length} ${calls.length === 1 ? "call" : "calls"}`;
    const words = calls.length
      ? `${failed || "None"} of ${of} failed; it opens at ${breaker.fail_max} in a row.`
      : `No call yet; it opens at ${breaker.fail_max} failures in a row.`;
    this.breaker.replaceChildren(heading, drawn, h("p", {}, words));
  }

  drawPace() {
    const { pace } = this.store;
    const last = pace.at(-1);
    const heading = h(
      "h2",
      {},
      "Steps a second ",
      h("span", {}, last ? `${last.forward} forward, ${last.back} back` : "none yet"),
    );
    const most = Math.max(4, ...pace.map(({ forward }) => forward));
    const mostBack = Math.max(most / 3, ...pace.map(({ back }) => back), 1);
    const bars = pace.flatMap(({ forward, back }, at) => {
      const x = ((at + POINTS - pace.length) * 100) / POINTS;
      const up = forward ? Math.max(1.5, (forward * (UP_PX - 4)) / most) : 0;
      const down = back ? Math.max(1.6, (back * DOWN_PX) / mostBack) : 0;
      return [up && bar("sp-do", x, UP_PX - up, up), down && bar("sp-undo", x, AXIS_PX + 1, down)];
    });
    const words = last
      ? `Steps a second over the last minute; now ${last.forward} forward and ${last.back} back`
      : "No steps yet";
    this.pace.replaceChildren(
      heading,
      s(
        "svg",
        { height: 56, role: "img", "aria-label": words },
        ...bars.filter((one) => one instanceof SVGElement),
        s("line", { class: "sp-axis", x1: 0, x2: "100%", y1: AXIS_PX, y2: AXIS_PX }),
      ),
    );
  }
}

/** @param {string} className @param {number} x @param {number} y @param {number} height */
function bar(className, x, y, height) {
  return s("rect", {
    class: className,
    x: `${x.toFixed(2)}%`,
    y: y.toFixed(1),
    width: "1.15%",
    height: height.toFixed(1),
  });
}

/** @param {"ok" | "failed" | "unknown"} call @param {number} at */
function callMark(call, at) {
  const x = (at * 100) / CALLS_SHOWN;
  if (call === "ok") return [s("rect", { class: "ck-ok", x: `${x}%`, y: 2, width: "3.4%", height: 12 })];
  if (call === "failed")
    return [s("svg", { x: `${x + 1.7}%` }, s("path", { class: "ck-no", d: "M-3.5 4.5l7 7M3.5 4.5l-7 7" }))];
  return [
    s("rect", { class: "m-unk", x: `${x}%`, y: 2, width: "3.4%", height: 12 }),
    s("rect", { class: "ck-lost", x: `${x}%`, y: 2, width: "3.4%", height: 12 }),
  ];
}

/** @param {string[]} calls */
function callsWords(calls) {
  const count = (/** @type {string} */ kind) => calls.filter((call) => call === kind).length;
  return `Last ${calls.length} calls: ${count("ok")} answered, ${count("unknown")} lost, ${count("failed")} failed`;
}

/** @param {string} state */
function switchOf(state) {
  const lever = state === "closed" ? "M14 6h16" : state === "open" ? "M14 5L27 -3" : "M14 5.5L28 1";
  return s(
    "svg",
    { class: "swi", width: 44, height: 12, "aria-hidden": "true" },
    s("path", { class: "sw", d: `M0 6h12M32 6h12${lever}` }),
    s("circle", { class: "sw-dot", cx: 13, cy: 6, r: 2.5 }),
    s("circle", { class: "sw-dot", cx: 31, cy: 6, r: 2.5 }),
  );
}

/** @param {import("./shapes.js").Breaker} breaker */
function stateWords(breaker) {
  if (breaker.state === "closed") return "closed: calls pass";
  if (breaker.state === "half_open") return "half open: one call tries";
  const left = breaker.half_open_at ? Date.parse(breaker.half_open_at) - now() : 0;
  return left > 0 ? `open: tries again in ${since(left)}` : "open: calls wait";
}
