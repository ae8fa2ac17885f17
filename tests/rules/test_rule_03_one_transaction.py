"""Rule 3. What a saga decided, what it sends, and how far its topic was read become true together or not at all; so a
message that is read again after a death finds either nothing done or everything.
"""

from dataclasses import replace
from uuid import uuid4

import psycopg
import pytest

from orchestrator import Saga, saga
from orchestrator.engine import batch as batches
from orchestrator.engine import fence, mail
from orchestrator.engine.batch import Batch
from orchestrator.engine.turns import Start
from tests.rules.inside import NOBODY, SHARD, Inside
from tests.unit.core.shop import Charge, Print


@saga
async def two_calls(s: Saga, _: int) -> str:
    await s.call(Print(order="1"))
    return (await s.call(Charge(amount=45))).charge


@saga
async def notes_and_ends(s: Saga, _: int) -> str:
    await s.call(Print(order="1"))
    s.set("printed", True)
    await s.call(Charge(amount=45))
    return "paid"


def partitions(_topic: str) -> int:
    return 4


@pytest.fixture
def hold(connection: psycopg.Connection) -> fence.Hold:
    [claimed] = fence.claim(connection, {SHARD: 0}, uuid4())
    return claimed


def stored(connection: psycopg.Connection) -> tuple[int, int, int, int]:
    """(sagas, turns, rows to send, next offset)."""
    row = connection.execute(
        """SELECT (SELECT count(*) FROM amends.sagas), (SELECT count(*) FROM amends.journal),
        (SELECT count(*) FROM amends.outbox), (SELECT next_offset FROM amends.shards WHERE shard = %s)""",
        [SHARD],
    ).fetchone()
    assert row is not None
    return row


def begun(inside: Inside) -> Batch:
    """A start that was read at offset 0."""
    batch = Batch()
    inside.turns.start(batch, Start(inside.saga_row(two_calls, 0, "s")), [], inside.raw("s"))
    batch.of(SHARD).next_offset = 1
    return batch


def answered(inside: Inside) -> Batch:
    batch = Batch()
    inside.processing.process(batch, inside.item(inside.succeeded("s", 0, Print, "label")), NOBODY, NOBODY)
    return batch


def test_a_turn_its_commands_and_its_offset_are_there_together(connection, hold) -> None:
    inside = Inside(two_calls)
    batches.commit(connection, begun(inside), {SHARD: hold}, partitions)
    assert stored(connection) == (1, 1, 1, 1)
    batches.commit(connection, answered(inside), {SHARD: hold}, partitions)
    assert stored(connection) == (1, 2, 2, 2)


@pytest.mark.parametrize("spoiled", ["turns", "outbox", "letters"])
def test_if_one_of_them_is_refused_none_is_there(connection, hold, spoiled) -> None:
    inside = Inside(two_calls)
    batches.commit(connection, begun(inside), {SHARD: hold}, partitions)
    batch = answered(inside)
    match spoiled:
        case "turns":
            batch.of(SHARD).turns.append(batch.of(SHARD).turns[0])
        case "outbox":
            batch.of(SHARD).outbox.append(replace(batch.of(SHARD).outbox[0], id="no uuid"))
        case "letters":
            batch.of(SHARD).letters.append(mail.letter(inside.raw("s"), "a NUL: \x00"))
    with pytest.raises(psycopg.Error):
        batches.commit(connection, batch, {SHARD: hold}, partitions)
    assert stored(connection) == (1, 1, 1, 1)


def test_all_that_goes_out_as_one_statement_is_carried_out(connection, hold, monkeypatch) -> None:
    inside = Inside(notes_and_ends)
    batch = Batch()
    inside.turns.start(batch, Start(inside.saga_row(notes_and_ends, 0, "s")), [], inside.raw("s"))
    batches.commit(connection, batch, {SHARD: hold}, partitions)
    monkeypatch.setattr(psycopg.Connection, "pipeline", None)  # a batch of these needs none
    batches.commit(connection, answered(inside), {SHARD: hold}, partitions, spans=True)
    batch = Batch()
    inside.processing.process(batch, inside.item(inside.succeeded("s", 2, Charge, {"charge": "c1"})), NOBODY, NOBODY)
    batch.of(SHARD).next_offset = 3
    batches.commit(connection, batch, {SHARD: hold}, partitions, spans=True)
    assert stored(connection) == (1, 3, 4, 3)
    ended = "SELECT status, result, (SELECT count(*) FROM amends.saga_values), (SELECT count(*) FROM amends.span_queue)"
    assert connection.execute(f"{ended} FROM amends.sagas").fetchone() == ("completed", '"paid"', 1, 2)


def test_who_was_robbed_writes_nothing_of_it(connection, hold) -> None:
    inside = Inside(two_calls)
    batches.commit(connection, begun(inside), {SHARD: hold}, partitions)
    assert fence.claim(connection, {SHARD: hold.epoch}, uuid4())
    with pytest.raises(fence.ShardsLost):
        batches.commit(connection, answered(inside), {SHARD: hold}, partitions)
    assert stored(connection) == (1, 1, 1, 1)
