/**
 * Read one saga as it stands by now: its outline, its trace with that of its children, and the turns that are new.
 */

import { get, Refused, sagaPath } from "./api.js";

/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./shapes.js").Outline} Outline */
/** @typedef {import("./telling.js").Traced} Traced */
/** @typedef {import("./journal.js").Turn} Turn */

const TURNS_PAGE = 500;
const TURNS_MAX = 5_000;

/**
 * @param {Store} store
 * @param {string} id
 * @param {number} fromPos the first turn that is not known yet
 * @returns {Promise<{outline: Outline, attempts: Traced[], turns: Turn[]}>}
 */
export async function readSaga(store, id, fromPos) {
  const [found, traced, turns] = await Promise.all([outlineOf(id), attemptsOf(id), newTurns(id, fromPos)]);
  const outline = /** @type {Outline} */ (newer(store.outlines.get(id), found));
  store.putOutline(found);
  const children = outline.ops.flatMap((op) => (op.child_id ? [readChild(store, op.child_id)] : []));
  const attempts = [...traced, ...(await Promise.all(children)).flat()];
  return { outline, attempts: attempts.sort((one, other) => one.from.localeCompare(other.from)), turns };
}

/** The later picture of a saga. @param {Outline | undefined} one @param {Outline | undefined} other */
export function newer(one, other) {
  if (!one || !other || one.id !== other.id) return other ?? one;
  return one.turns > other.turns ? one : other;
}

/** @param {Store} store @param {string} id */
async function readChild(store, id) {
  try {
    const [outline, attempts] = await Promise.all([outlineOf(id), attemptsOf(id)]);
    store.putOutline(outline);
    return attempts;
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return []; // It was decided on, and has not begun.
    throw error;
  }
}

/** @param {string} id @returns {Promise<Outline>} */
function outlineOf(id) {
  return get(`${sagaPath(id)}/outline`);
}

/** @param {string} id @returns {Promise<Traced[]>} */
async function attemptsOf(id) {
  const { attempts } = await get(`${sagaPath(id)}/trace`);
  return attempts.map((/** @type {import("./shapes.js").Attempt} */ attempt) => ({ ...attempt, sagaId: id }));
}

/** @param {string} id @param {number} fromPos @returns {Promise<Turn[]>} */
async function newTurns(id, fromPos) {
  /** @type {Turn[]} */
  const turns = [];
  let from = fromPos;
  while (turns.length < TURNS_MAX) {
    const page = await get(`${sagaPath(id)}/journal?from_pos=${from}&limit=${TURNS_PAGE}`);
    turns.push(...page.turns);
    if (page.next_pos === null) break;
    from = page.next_pos;
  }
  return turns;
}
