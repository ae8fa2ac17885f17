/**
 * The shapes of what the server sends (docs/reference/http.md, and services/floor for the books). Types only.
 *
 * @typedef {"queued"|"running"|"compensating"|"stuck"|"blocked"|"completed"|"failed"|"cancelled"|"terminated"} Status
 * @typedef {{state: "open"|"undone"|"failed"|"left", attempts: number, error: string | null}} Undo
 * @typedef {{seq: number, kind: string, name: string, state: "open"|"succeeded"|"failed"|"unknown"|"settled",
 *   attempts: number, was_unknown: boolean, undo: Undo | null, child_id: string | null}} Op
 * @typedef {{takeover_id: string, seq: number | null, at: string, worker: string, epoch: number}} Seam
 * @typedef {{id: string, type: string, version: number, status: Status, shard: number, started_at: string,
 *   ended_at: string | null, error: string | null, parent_id: string | null, turns: number, waiting_for: string[],
 *   undone_because: string | null, deadline: string | null, pivot_seq: number | null, ops: Op[], seams: Seam[]}} Outline
 * @typedef {{takeover_id: string, worker: string, taken_at: string, epoch: number, shards: number[]}} Takeover
 *
 * @typedef {{order_id: string, saga_id: string, customer: string, dishes: number, placed_at: string,
 *   gateway: {taken: string, back: string, refs: string[]}, order: {owed: string, cancelled: string, status: string},
 *   stock: {out: number, back: number}, open: string, unknown: boolean}} Book
 * @typedef {{taken: string, back: string, delivered: string, open: string, open_count: number, adrift: string,
 *   adrift_orders: string[], owed: string, cancelled: string, stock_out: number, stock_back: number, orders: number,
 *   as_of: string}} Totals
 * @typedef {{name: string, label: string, kind: "process"|"kafka", state: "up"|"down"|"starting", since: string,
 *   note: string}} Plug
 * @typedef {{name: string, state: "closed"|"open"|"half_open", window: ("ok"|"failed"|"unknown")[], failed: number,
 *   fail_max: number, opens_at: string | null, half_open_at: string | null}} Breaker
 * @typedef {{at: string, forward: number, back: number}} Pace
 *
 * @typedef {{op: string, seq: number, undo_of: number | null, number: number, from: string, to: string | null,
 *   outcome: string, was_unknown: boolean, note: string, worker: string | null}} Attempt
 * @typedef {{verb_no: number, saga_id: string, verb: string, note: string, given_by: string, given_at: string, done_at: string | null,
 *   outcome: string | null}} GivenVerb
 * @typedef {{verb: string, fits: boolean, why_not: string, does: string, left: string[], needs_note: boolean}} Preview
 * @typedef {{id: string, status: Status, since: string | null, phase: "forward"|"undoing"|"blocked"|"over",
 *   why: string | null, standing: Op[], taken_back: Op[], next: string[], verbs: Preview[], audit: GivenVerb[]}} Desk
 */

export {};
