/**
 * The journal, turn by turn: what came in, and what was decided. In words, or as it stands in the table.
 */

import { h, icon } from "./dom.js";
import { clock } from "./clock.js";
import { labelOf, reasonOf, humanised } from "./labels.js";
import { lower } from "./words.js";

/** @typedef {{pos: number, body: Record<string, any>[]}} Turn */
/** @typedef {import("./shapes.js").Seam} Seam */

export class Journal {
  constructor() {
    this.isWords = true;
    /** @type {Turn[]} */
    this.turns = [];
    /** @type {Seam[]} */
    this.seams = [];
    this.box = h("div", {
      class: "journal-box",
      role: "group",
      "aria-label": "Journal, scrolls sideways",
      tabindex: "0",
    });
    const tabs = [
      ["Words", true],
      ["JSON", false],
    ].map(([word, isWords]) =>
      h(
        "button",
        {
          type: "button",
          "aria-pressed": String(isWords),
          onclick: (/** @type {MouseEvent} */ event) => {
            this.isWords = Boolean(isWords);
            for (const tab of tabs) tab.setAttribute("aria-pressed", String(tab === event.currentTarget));
            this.#redraw();
          },
        },
        String(word),
      ),
    );
    this.element = h(
      "section",
      { class: "panel", "aria-labelledby": "h-journal" },
      h(
        "header",
        {},
        h("h2", { id: "h-journal" }, "Journal"),
        h("div", { class: "tabs", role: "group", "aria-label": "Form" }, tabs),
      ),
      this.box,
    );
  }

  /** @param {Turn[]} turns @param {Seam[]} seams */
  draw(turns, seams) {
    this.turns = turns;
    this.seams = seams;
    this.#redraw();
  }

  #redraw() {
    const { scrollTop } = this.box;
    this.box.replaceChildren(this.isWords ? this.#words() : this.#json());
    this.box.scrollTop = scrollTop;
  }

  #words() {
    const names = namesOf(this.turns);
    const rows = this.turns.map((turn) => ({ at: atOf(turn), row: turnRow(turn, names) }));
    for (const seam of this.seams) rows.push({ at: Date.parse(seam.at), row: seamRow(seam) });
    rows.sort((one, other) => one.at - other.at);
    return h(
      "table",
      { class: "journal" },
      h(
        "thead",
        { class: "vh" },
        h(
          "tr",
          {},
          ["position", "time", "what came in", "what was decided"].map((head) => h("th", {}, head)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map(({ row }) => row),
      ),
    );
  }

  #json() {
    return h(
      "ol",
      { class: "journal-json" },
      this.turns.map((turn) =>
        h(
          "li",
          {},
          h("b", {}, String(turn.pos)),
          h("pre", {}, turn.body.map((line) => JSON.stringify(line)).join("\n")),
        ),
      ),
    );
  }
}

/** The names of operations by their number, as the turns brought them. @param {Turn[]} turns */
function namesOf(turns) {
  /** @type {Map<number, string>} */
  const names = new Map();
  for (const { body } of turns) {
    for (const line of body.slice(1))
      if (line.seq !== undefined && line.undo_of === undefined && !names.has(line.seq))
        names.set(line.seq, `${line.op}:${String(line.name ?? line.key ?? "").split(" on ")[0]}`);
  }
  return names;
}

/** @param {Turn} turn */
function atOf(turn) {
  return Number(turn.body[0]?.at ?? 0) / 1000;
}

/** @param {Turn} turn @param {Map<number, string>} names */
function turnRow({ pos, body }, names) {
  const [entry = {}, ...decisions] = body;
  const came = cameIn(entry, names);
  const told = decisions
    .map((line) => decision(line, names))
    .filter(Boolean)
    .join("; ");
  const decided = told ? `→ ${told}` : "";
  const at = Number(entry.at ?? 0) / 1000;
  return h(
    "tr",
    {},
    h("td", { class: "pos" }, String(pos)),
    h("td", { class: "mono" }, at ? clock(at, 3).slice(6) : ""),
    h("td", { class: came.tone }, came.icon ? icon(came.icon) : h("i", { class: "ico" }), came.text),
    h("td", { class: "dim2" }, [came.detail, decided].filter(Boolean).join(" ")),
  );
}

/** @param {Seam} seam */
function seamRow(seam) {
  return h(
    "tr",
    { class: "seam" },
    h("td", { class: "pos" }),
    h("td", { class: "mono" }, clock(seam.at, 3).slice(6)),
    h("td", { class: "is-cut" }, icon("i-cut"), "took over"),
    h("td", { class: "dim2" }, `${seam.worker}, epoch ${seam.epoch}`),
  );
}

/** @param {Record<string, any>} entry @param {Map<number, string>} names @returns {{tone: string, icon: string, text: string, detail: string}} */
function cameIn(entry, names) {
  const name = lower(labelOf(names.get(entry.seq) ?? "call:step").does);
  const problem = entry.problem ? reasonOf(entry.problem.text || entry.problem.type || "") : "";
  const tries = entry.attempt > 1 ? `try ${entry.attempt}` : "";
  switch (entry.in) {
    case "started":
      return { tone: "", icon: "", text: "started", detail: "" };
    case "replied":
    case "step_ended":
      return {
        ...answer(entry.outcome ?? "succeeded"),
        text: `${name}: ${said(entry.outcome ?? "succeeded")}`,
        detail: [tries, problem].filter(Boolean).join(", "),
      };
    case "undo_replied":
      return {
        tone: entry.outcome === "undone" ? "is-undone" : "is-undoing",
        icon: entry.outcome === "undone" ? "i-undone" : "i-undoing",
        text: `undo of ${name}: ${entry.outcome === "undone" ? "done" : said(entry.outcome)}`,
        detail: [tries, problem].filter(Boolean).join(", "),
      };
    case "message":
      return { tone: "is-completed", icon: "", text: `message: ${humanised(String(entry.type ?? ""))}`, detail: "" };
    case "timer":
      return { tone: "is-waiting", icon: "i-waiting", text: "the time had come", detail: "" };
    case "verb":
      return { tone: "is-stuck", icon: "i-stuck", text: `a person said: ${entry.verb}`, detail: entry.note ?? "" };
    case "undo_requested":
      return { tone: "is-undoing", icon: "i-undoing", text: "asked to take itself back", detail: "" };
    default:
      return { tone: "", icon: "", text: humanised(String(entry.in ?? "something newer")), detail: "" };
  }
}

/** @param {string} outcome */
function answer(outcome) {
  if (outcome === "succeeded") return { tone: "is-completed", icon: "i-completed" };
  return outcome === "unknown" || outcome === "retry"
    ? { tone: "is-unknown", icon: "i-unknown" }
    : { tone: "is-undone", icon: "" };
}

/** @param {string} outcome */
function said(outcome) {
  return { succeeded: "done", failed: "refused", retry: "to be tried again", unknown: "unknown" }[outcome] ?? outcome;
}

/** @param {Record<string, any>} line @param {Map<number, string>} names */
function decision(line, names) {
  const own = labelOf(names.get(line.undo_of ?? line.seq) ?? `${line.op}:${line.name ?? ""}`);
  const again = line.attempt > 1 ? `, try ${line.attempt}` : "";
  if (line.undo_of !== undefined) return `${lower(own.undoes)}${again}`;
  switch (line.op) {
    case "call":
    case "step":
    case "transaction":
    case "child":
      return `${lower(own.does)}${again}`;
    case "receive":
      return lower(own.does);
    case "sleep":
    case "timeout":
      return line.op === "sleep" ? `sleep ${line.name}` : `at most ${line.name}`;
    case "set":
      return `note ${line.key ?? line.name}`;
    case "publish":
    case "send":
    case "start":
      return `${line.op} ${humanised(String(line.name ?? ""))}`;
    case "pivot":
      return "no way back from here";
    case "status":
      return line.name === "compensating" ? "turns over" : String(line.name);
    case "finish":
      return `ends: ${line.name}${line.problem ? `, ${reasonOf(line.problem.text || line.problem.type)}` : ""}`;
    default:
      return "";
  }
}
