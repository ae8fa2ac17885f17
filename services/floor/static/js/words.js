/**
 * How a saga stands, in words. Pure: the same saga, books and time always give the same words.
 */

import { now, since, took } from "./clock.js";
import { humanised, labelOf, reasonOf } from "./labels.js";
import { CURRENCY, isZero, shown } from "./money.js";
import { isWait } from "./columns.js";

/** @typedef {import("./laying.js").Laid} Laid */
/** @typedef {import("./laying.js").Cell} Cell */
/** @typedef {import("./shapes.js").Book} Book */
/** @typedef {{tone: string, icon: string, title: string, detail: string}} Standing */

/**
 * @param {Laid} laid
 * @param {Book | undefined} book
 * @param {number} at milliseconds
 * @returns {Standing}
 */
export function standingOf(laid, book, at = now()) {
  const { outline } = laid;
  switch (laid.status) {
    case "queued":
      return { tone: "is-waiting", icon: "i-waiting", title: "Queued", detail: "not begun" };
    case "running":
      return running(laid, at);
    case "compensating":
      return { tone: "is-undoing", icon: "i-undoing", title: "Undoing", detail: undoingWhat(laid) };
    case "stuck":
      return { tone: "is-stuck", icon: "i-stuck", title: "Stuck", detail: stuckWhy(laid) };
    case "blocked":
      return { tone: "is-blocked", icon: "i-blocked", title: "Blocked", detail: "the code does not match" };
    case "completed":
      return { tone: "is-completed", icon: "i-completed", title: "Completed", detail: tookWithSeams(laid) };
    case "cancelled":
      return { tone: "is-cancelled", icon: "i-undone", title: left(laid, book) || "Cancelled", detail: "by a person" };
    case "terminated":
      return { tone: "is-stuck", icon: "i-stuck", title: "Terminated", detail: "nothing was taken back" };
    default:
      return {
        tone: "is-undone",
        icon: "i-undone",
        title: left(laid, book) || "Undone",
        detail: reasonOf(outline.error) || causeWords(laid),
      };
  }
}

/** What the row's ribbon shows, as one sentence for those who do not see it. @param {Laid} laid @param {Standing} standing */
export function sentenceOf(laid, standing) {
  const done = names(laid, "done");
  const gone = names(laid, "gone");
  const parts = [standing.detail ? `${standing.title}: ${standing.detail}` : standing.title];
  if (done.length) parts.push(`done: ${done.join(", ")}`);
  if (gone.length) parts.push(`taken back: ${gone.join(", ")}`);
  const lost = laid.cells
    .filter(({ shape }) => shape === "asking" || shape === "unknown")
    .map(({ key }) => labelOf(key).does.toLowerCase());
  if (lost.length) parts.push(`unknown: ${lost.join(", ")}`);
  if (laid.outline.seams.length)
    parts.push(laid.outline.seams.length > 1 ? `${laid.outline.seams.length} takeovers` : "one takeover");
  return `${parts.join(". ")}.`;
}

/** The answers that a waiting saga can be given here, by what it waits for. @param {Laid} laid @returns {("pay"|"refuse")[]} */
export function answersOf(laid) {
  const waits = laid.cells.some(
    (cell) => cell.shape === "waiting" && /PaymentSettled|PaymentRefused/.test(cell.op.name),
  );
  return waits && laid.status === "running" ? ["pay", "refuse"] : [];
}

/** What was left behind, if it ended so. @param {Laid} laid @param {Book | undefined} book */
function left(laid, book) {
  if (laid.status !== "failed" && laid.status !== "cancelled") return "";
  if (book && !isZero(book.open)) return `Ended, ${CURRENCY} ${shown(book.open)} left`;
  const kept = laid.cells.filter(({ op }) => op.undo?.state === "left" || op.undo?.state === "failed").length;
  return kept ? `Ended, ${kept} left` : "";
}

/** @param {Laid} laid @param {number} at @returns {Standing} */
function running(laid, at) {
  const asking = laid.cells.find(({ shape }) => shape === "asking");
  if (asking) return { tone: "is-unknown", icon: "i-unknown", title: "Looking it up", detail: "the answer was lost" };
  const open = laid.cells.findLast(({ shape }) => shape === "growing");
  if (open) return { tone: "is-running", icon: "i-running", title: labelOf(open.key).running, detail: triesOf(open) };
  const waiting = laid.cells.findLast(({ shape }) => shape === "waiting");
  if (waiting)
    return { tone: "is-waiting", icon: "i-waiting", title: labelOf(waiting.key).running, detail: timeLeft(laid, at) };
  return { tone: "is-running", icon: "i-running", title: "Running", detail: "" };
}

/** @param {Laid} laid @param {number} at */
export function timeLeft(laid, at) {
  const until = laid.outline.deadline ? Date.parse(laid.outline.deadline) - at : NaN;
  if (Number.isNaN(until)) return "for as long as it takes";
  return until > 0 ? `${since(until)} left` : "time is up";
}

/** @param {Cell} cell */
function triesOf(cell) {
  return cell.op.attempts > 1 ? `try ${cell.op.attempts}` : "no answer yet";
}

/** @param {Laid} laid */
function undoingWhat(laid) {
  const open = laid.cells.find(({ op }) => op.undo?.state === "open");
  if (!open) return causeWords(laid);
  const again = (open.op.undo?.attempts ?? 1) > 1 ? `, try ${open.op.undo?.attempts}` : "";
  return `${labelOf(open.key).undoing}${again}`;
}

/** @param {Laid} laid */
function stuckWhy(laid) {
  const refused = laid.cells.find(({ op }) => op.undo?.state === "failed");
  if (refused) return `could not ${lower(labelOf(refused.key).undoes)}`;
  const torn = laid.cells.find(({ shape }) => shape === "torn");
  return torn ? `could not ${lower(labelOf(torn.key).does)}` : reasonOf(laid.outline.error);
}

/** @param {Laid} laid */
export function causeWords(laid) {
  const { cause } = laid;
  if (!cause) return "";
  if (laid.ended && laid.outline.error) return reasonOf(laid.outline.error);
  if (isWait(cause.op)) return cause.op.state === "failed" ? "no answer in time" : "the answer was no";
  return cause.shape === "failed" ? `could not ${lower(labelOf(cause.key).does)}` : "it could not go on";
}

/** @param {Laid} laid */
function tookWithSeams(laid) {
  const { started_at: from, ended_at: to, seams } = laid.outline;
  const time = to ? took(Date.parse(to) - Date.parse(from)) : "";
  if (!seams.length) return time;
  return `${time}, ${seams.length > 1 ? `${seams.length} takeovers` : "one takeover"}`;
}

/** @param {Laid} laid @param {string} shape */
function names(laid, shape) {
  return laid.cells.filter((cell) => cell.shape === shape).map(({ key }) => lower(labelOf(key).does));
}

/** @param {string} text */
export function lower(text) {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** `call ChargeCard` or `undo of call ChargeCard`, as the desk names operations. @param {string} title */
export function titleWords(title) {
  const undo = title.startsWith("undo of ");
  const [kind, ...rest] = (undo ? title.slice(8) : title).split(" ");
  const name = rest.join(" ");
  const key = kind === "child" ? `child:${rest[0]}` : `${kind}:${name}`;
  const label = labelOf(name ? key : `call:${kind}`);
  return undo ? lower(label.undoes) : lower(label.stands);
}

/** A worker is named after its machine and its process, which tells a person nothing: only a name that was given does. @param {string} worker */
export function workerName(worker) {
  const name = /^(orchestrator[-_ ]?\w*?)[-:]\d+$/.exec(worker)?.[1];
  return name ? humanised(name).replace(/^./, (letter) => letter.toUpperCase()) : "Another process";
}

/** What an error says, without what it is made of. @param {string} error */
export function wordsOf(error) {
  return /\breason=(['"])(.*?)\1/.exec(error)?.[2] ?? error;
}
