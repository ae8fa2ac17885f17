/**
 * The verbs of the desk in words: what a card says, what the button repeats, and what will be left. Pure.
 *
 * What a verb does and leaves is said by the server; here it only gets the names that people use.
 */

import { labelOf } from "./labels.js";
import { isPayment, refundWords, stakeOf } from "./stakes.js";
import { lower, titleWords } from "./words.js";

/** @typedef {import("./shapes.js").Desk} Desk */
/** @typedef {import("./shapes.js").Op} Op */
/** @typedef {import("./shapes.js").Book} Book */
/** @typedef {import("./shapes.js").Preview} Preview */

const ORDER = ["retry", "skip", "fail", "unblock"];
const OF_BLOCKED = [...ORDER, "terminate"];
const TITLE = /(undo of )?(call|step|transaction|child) ([\w.]+)( [\w./-]+)?/g;

/** Those that a person is offered. @param {Desk} desk @returns {Preview[]} */
export function offered(desk) {
  const names = desk.phase === "blocked" ? OF_BLOCKED : ORDER;
  return names.flatMap((name) => desk.verbs.filter(({ verb, fits }) => verb === name && fits));
}

/** @param {string} verb @param {Desk} desk */
export function verbTitle(verb, desk) {
  const isUndoing = desk.phase === "undoing";
  return (
    {
      retry: "Retry",
      skip: isUndoing ? "Skip this undo" : "Skip this step",
      fail: "Give up",
      unblock: "Go on with the new code",
      terminate: "End it as it stands",
    }[verb] ?? verb
  );
}

/** The server's sentence with our names. @param {Preview} preview @param {Desk} desk @param {Book | undefined} book */
export function verbTells(preview, desk, book) {
  const does = preview.does.replace(TITLE, (title) => titleWords(title));
  const what = asked(desk, book);
  if (preview.verb === "retry" && desk.phase === "undoing")
    return `Once more: ${lower(what)}. Under the same key, so it cannot happen twice.`;
  if (preview.verb === "retry") return `Once more: ${lower(what)}. If that succeeds, the saga goes on.`;
  if (preview.verb === "skip" && desk.phase === "undoing")
    return `Somebody settles that elsewhere. The undos before it go on.`;
  if (preview.verb === "skip") return `Somebody has done it by other means. The saga goes on without it.`;
  if (preview.verb === "fail") return "The saga ends as failed. What stands stays as it is, and is listed.";
  return does;
}

/** @param {string} verb @param {Desk} desk @param {Book | undefined} book */
export function buttonWords(verb, desk, book) {
  const what = lower(asked(desk, book));
  switch (verb) {
    case "retry":
      return `Retry: ${what}`;
    case "skip":
      return `Skip “${what}” and go on`;
    case "fail":
      return "Give up, and leave what stands";
    case "terminate":
      return "End it as it stands";
    default:
      return "Go on with the new code";
  }
}

/** @param {string} verb */
export function afterWords(verb) {
  return (
    {
      retry: "If the retry succeeds",
      skip: "After skipping",
      fail: "After giving up",
      unblock: "If the code fits",
      terminate: "After ending it",
    }[verb] ?? "Afterwards"
  );
}

/**
 * What becomes of each thing that stands.
 * @param {Preview} preview
 * @param {Desk} desk
 * @param {Book | undefined} book
 * @returns {{name: string, becomes: string, stays: boolean}[]}
 */
export function becomes(preview, desk, book) {
  return desk.standing.map((op) => {
    const stays = preview.left.some((title) => title === titleOf(op) || title.startsWith(`${titleOf(op)} `));
    const stake = stakeOf(keyOf(op), book);
    const what = stake && !stake.isZero ? stake.left : "";
    const isKept = desk.phase !== "undoing" && preview.verb !== "fail" && preview.verb !== "terminate";
    const word = stays ? (isKept ? "stays" : `left${what ? `: ${what}` : ""}`) : `taken back${what ? `: ${what}` : ""}`;
    return { name: labelOf(keyOf(op)).stands, becomes: word, stays: stays && !isKept };
  });
}

/** The sentence over the case. @param {Desk} desk @param {Book | undefined} book */
export function caseTitle(desk, book) {
  const what = asked(desk, book);
  if (desk.phase === "blocked") return "The code no longer matches what this saga has done, so it waits.";
  if (desk.phase === "over") return "This saga has ended. Nothing is asked of you.";
  if (desk.phase === "undoing") return `“${what}” was refused, so the way back has stopped.`;
  return `“${what}” was refused, and from here there is no way back.`;
}

/** What a person is asked about, in the words of its step. @param {Desk} desk @param {Book | undefined} book */
export function asked(desk, book) {
  const title = desk.next[0] ?? "";
  const [, undo, kind, name] = new RegExp(TITLE.source).exec(title) ?? [];
  if (!name) return title || "this step";
  const key = `${kind}:${name}`;
  if (!undo) return labelOf(key).does;
  return isPayment(key) ? refundWords(book) : labelOf(key).undoes;
}

/** @param {Op} op */
export function keyOf(op) {
  return `${op.kind}:${op.name}`;
}

/** As the server names an operation. @param {Op} op */
function titleOf(op) {
  return [op.kind, op.name, op.child_id].filter(Boolean).join(" ");
}
