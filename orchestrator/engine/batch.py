"""One write set of many turns, committed in ONE transaction: fence, journal, sagas, outbox, mail, next offsets.

A batch costs one round trip whatever it holds. What nearly every one consists of goes out as one statement, which is
its own transaction; what is rarer, in a pipeline of statements. When the fence refuses, nothing is written, and what of
the batch is still ours is written again without the rest.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, LiteralString

import psycopg

from orchestrator.core.decisions import StartStep
from orchestrator.core.entries import Entry
from orchestrator.engine import feed, fence, journal, mail, sagas, span_queue, verbs
from orchestrator.failpoints import failpoint
from outbox_relay import table
from outbox_relay.rows import Row

_Statement = tuple[LiteralString, tuple[Any, ...]]

# Statements that don't meet in one table, and so may be parts of one: its parts see the same snapshot.
_FUNCTIONS: frozenset[LiteralString] = frozenset({fence.FENCE, sagas.MOVE})
_JOINABLE: frozenset[LiteralString] = _FUNCTIONS | {
    journal.INSERT,
    sagas.SET_VALUES,
    table.INSERT_MANY,
    span_queue.INSERT,
    feed.INSERT,
}
JOINED_KEPT_MAX = 64  # combinations of these


@dataclass(slots=True)
class ShardWrites:
    """What a batch holds of one shard. Kept apart, so that a lost shard is dropped and the rest goes on."""

    next_offset: int | None = None
    turns: list[journal.Row] = field(default_factory=list)
    created: list[sagas.SagaRow] = field(default_factory=list)
    moves: dict[int, sagas.Move] = field(default_factory=dict)
    values: list[sagas.Value] = field(default_factory=list)
    outbox: list[Row] = field(default_factory=list)
    kept: list[mail.Waiting] = field(default_factory=list)
    delivered: list[str] = field(default_factory=list)
    held: list[tuple[int, Entry]] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    letters: list[mail.Letter] = field(default_factory=list)
    ignored: dict[str, tuple[int, str]] = field(default_factory=dict)
    outcomes: list[tuple[int, str]] = field(default_factory=list)
    at_work: int = 0  # how many more sagas are at work with this batch
    unseen_ends: list[int] = field(default_factory=list)  # saga_no: ended by force, without a turn
    steps: list[tuple[str, StartStep]] = field(default_factory=list)  # after the commit: saga id, what
    wakes: dict[int, tuple[str, int | None]] = field(default_factory=dict)  # after the commit: saga_no -> id, due

    def move(self, move: sagas.Move) -> None:
        """Two changes of one saga in a batch become one."""
        earlier = self.moves.get(move.saga_no)
        self.moves[move.saga_no] = move if earlier is None else earlier.then(move)

    def take_kept(self, saga_id: str) -> list[mail.Waiting]:
        """What this batch was to keep for a saga, which begins now."""
        if not self.kept:
            return []
        taken = [message for message in self.kept if message.saga_id == saga_id]
        self.kept = [message for message in self.kept if message.saga_id != saga_id]
        return taken

    def ignore(self, reason: str, saga_id: str) -> None:
        count, _ = self.ignored.get(reason, (0, ""))
        self.ignored[reason] = (count + 1, saga_id)


@dataclass(slots=True)
class Batch:
    """Per shard what to write. `commit` may be repeated with the same content as long as nothing was committed."""

    shards: dict[int, ShardWrites] = field(default_factory=dict)
    turns: int = 0
    bytes: int = 0  # of the messages that were read for it, and of journal and outbox

    def of(self, shard: int) -> ShardWrites:
        writes = self.shards.get(shard)
        if writes is None:
            writes = self.shards[shard] = ShardWrites()
        return writes

    def drop(self, shards: Iterable[int]) -> None:
        """These shards were lost: nothing of them may be written."""
        for shard in list(shards):
            self.shards.pop(shard, None)

    def all(self, name: str) -> list[Any]:
        """One list of the write sets, over all shards in their order."""
        return [item for shard in sorted(self.shards) for item in getattr(self.shards[shard], name)]


def commit(
    connection: psycopg.Connection[Any],
    batch: Batch,
    holds: dict[int, fence.Hold],
    partitions: Callable[[str], int],
    *,
    spans: bool = False,
    fed: bool = False,
) -> None:
    """Write it all, or nothing. Raises fence.ShardsLost (nothing was written) or the driver's error.

    On success the holds have advanced. `fed`: somebody watches which sagas move.
    """
    involved = [holds[shard] for shard in batch.shards]
    offsets = {s: w.next_offset for s, w in batch.shards.items() if w.next_offset is not None}
    statements = [(fence.FENCE, fence.fence_params(involved, offsets)), *_statements(batch, partitions)]
    if spans:
        statements += _span_statements(batch, holds)
    if fed:
        statements += _feed_statements(batch)
    try:
        if all(statement in _JOINABLE for statement, _ in statements):
            _execute_joined(connection, statements)
        else:
            _execute_in_turn(connection, statements)
    except psycopg.Error as error:
        if (lost := fence.shards_lost(error)) is not None:
            raise lost from None
        raise
    failpoint("engine.commit.after")
    for hold in involved:
        hold.batch_no += 1
        hold.next_offset = offsets.get(hold.shard, hold.next_offset)
        hold.probing = ()


def _execute_joined(connection: psycopg.Connection[Any], statements: Sequence[_Statement]) -> None:
    failpoint("engine.commit.before")
    texts = tuple(statement for statement, _ in statements)
    connection.execute(_joined(texts), [param for _, params in statements for param in params])


def _execute_in_turn(connection: psycopg.Connection[Any], statements: Sequence[_Statement]) -> None:
    with connection.pipeline(), connection.transaction():
        for statement, params in statements:
            connection.execute(statement, params)
        failpoint("engine.commit.before")


@lru_cache(JOINED_KEPT_MAX)
def _joined(statements: tuple[LiteralString, ...]) -> LiteralString:
    """All of them as parts of one. A function is carried out because somebody asks for what it returns."""
    parts: list[LiteralString] = [f"part_{n} AS MATERIALIZED ({one})" for n, one in enumerate(statements)]
    asked: list[LiteralString] = [
        f"(SELECT count(*) FROM part_{n})" for n, one in enumerate(statements) if one in _FUNCTIONS
    ]
    return f"WITH {', '.join(parts)} SELECT {', '.join(asked)}"


def _statements(batch: Batch, partitions: Callable[[str], int]) -> Iterable[_Statement]:
    moves = [move for shard in sorted(batch.shards) for move in batch.shards[shard].moves.values()]
    if created := batch.all("created"):
        created, moves = _begun(created, moves)
        yield sagas.INSERT, sagas.insert_params(created)
    if rows := batch.all("turns"):
        yield journal.INSERT, journal.insert_params(rows)
    if moves:
        yield sagas.MOVE, sagas.move_params(moves)
    if values := batch.all("values"):
        yield sagas.SET_VALUES, sagas.value_params(values)
    if outbox := batch.all("outbox"):
        yield table.INSERT_MANY, table.insert_params(outbox, partitions)
    yield from _mail_statements(batch)
    if outcomes := batch.all("outcomes"):
        yield verbs.DONE, verbs.done_params(outcomes)


def _begun(created: list[sagas.SagaRow], moves: list[sagas.Move]) -> tuple[list[sagas.SagaRow], list[sagas.Move]]:
    """A saga whose row is new here and whose first turn is in this batch is written as what it has become, once."""
    begun = {row.saga_no for row in created} & {move.saga_no for move in moves if move.begins}
    rows = [replace(row, status="running", input=None) if row.saga_no in begun else row for row in created]
    return rows, [move for move in moves if move.saga_no not in begun]


def _mail_statements(batch: Batch) -> Iterable[_Statement]:
    if delivered := batch.all("delivered"):
        yield mail.DELIVERED, (delivered,)
    if kept := batch.all("kept"):
        yield mail.KEEP, mail.keep_params(kept)
    if released := batch.all("released"):
        yield mail.RELEASED, (released,)
    if held := batch.all("held"):
        yield mail.HOLD, mail.hold_params(held)
    if letters := batch.all("letters"):
        yield mail.BURY, mail.bury_params(letters)
    if counts := _summed(writes.ignored for writes in batch.shards.values()):
        yield mail.COUNT, mail.count_params(counts)


def _span_statements(batch: Batch, holds: dict[int, fence.Hold]) -> Iterable[_Statement]:
    queued = []
    for shard, writes in sorted(batch.shards.items()):
        turns = [(row.saga_no, row.pos) for row in writes.turns]
        turns += [(saga_no, span_queue.END_UNSEEN) for saga_no in writes.unseen_ends]
        if turns:
            queued.append((shard, holds[shard].batch_no + 1, holds[shard].epoch, turns))
    if queued:
        yield span_queue.INSERT, span_queue.insert_params(queued)


def _feed_statements(batch: Batch) -> Iterable[_Statement]:
    moved: list[int] = []
    for writes in batch.shards.values():
        moved += [row.saga_no for row in writes.turns]
        moved += [row.saga_no for row in writes.created]
        moved += [*writes.moves, *writes.unseen_ends]
    if moved:
        yield feed.INSERT, feed.insert_params(moved)


def _summed(counts: Iterable[dict[str, tuple[int, str]]]) -> dict[str, tuple[int, str]]:
    total: dict[str, tuple[int, str]] = {}
    for one in counts:
        for reason, (count, saga_id) in one.items():
            total[reason] = (total.get(reason, (0, ""))[0] + count, saga_id)
    return total
