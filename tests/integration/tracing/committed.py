"""Sagas as a worker would have committed them: their rows, journals and places in the span queue, by plain SQL."""

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

import psycopg

from orchestrator.tracing.spans import SagaFacts, Takeover, spans_of
from tests.unit.tracing import journals as j

SHARDS = 4


@dataclass
class Committed:
    """What was written, and the ids of the spans that must come of it."""

    expected: set[str] = field(default_factory=set)
    batches: int = 0


def some_journal(random: Random) -> list[j.Turn]:
    """Success, a retry, or a failure with an undo that is tried twice."""
    match random.randrange(3):
        case 0:
            return [
                j.started(0, j.call(0, "Reserve")),
                j.replied(1, 0, j.call(1, "Charge")),
                j.replied(2, 1, j.finish()),
            ]
        case 1:
            return [
                j.started(0, j.call(0, "Charge"), j.wait(1, "sleep", "2s")),
                j.replied(1, 0, outcome="retry", problem=j.BUSY),
                j.timer(1.5, j.call(0, "Charge", attempt=2)),
                j.timer(2.1),
                j.replied(3, 0, j.finish(), attempt=2),
            ]
        case _:
            return [
                j.started(0, j.call(0, "Reserve")),
                j.replied(1, 0, j.call(1, "Charge")),
                j.replied(2, 1, j.status("compensating"), j.undo(0, "Reserve"), outcome="failed", problem=j.DECLINED),
                j.undone(3, 0, outcome="retry", problem=j.BUSY),
                j.timer(4, j.undo(0, "Reserve", attempt=2)),
                j.undone(5, 0, j.finish("failed", j.DECLINED), attempt=2),
            ]


def insert_saga(cursor: psycopg.Cursor[Any], saga_no: int, bodies: list[j.Turn], *, shard: int = 0) -> SagaFacts:
    """A saga that has ended, with its journal."""
    facts = SagaFacts(f"order-{saga_no}", str(UUID(int=saga_no)), "checkout", 1, None, "shop.")
    cursor.execute(
        "INSERT INTO amends.sagas (saga_no, id, uid, type, version, shard, status, input, input_hash) "
        "VALUES (%s, %s, %s, 'checkout', 1, %s, 'completed', '{}', '')",
        (saga_no, facts.id, facts.uid, shard),
    )
    cursor.executemany(
        "INSERT INTO amends.journal (saga_no, pos, body) VALUES (%s, %s, %s)",
        [(saga_no, pos, json.dumps(body)) for pos, body in enumerate(bodies)],
    )
    return facts


def queue(cursor: psycopg.Cursor[Any], shard: int, batch_no: int, turns: list[tuple[int, int]], epoch: int = 1) -> None:
    """One batch's row."""
    cursor.execute(
        "INSERT INTO amends.span_queue (shard, batch_no, epoch, saga_nos, positions) VALUES (%s, %s, %s, %s, %s)",
        (shard, batch_no, epoch, [saga_no for saga_no, _ in turns], [pos for _, pos in turns]),
    )


def commit_sagas(url: str, count: int, *, seed: int, turns_max: int = 12) -> Committed:
    """Many sagas, their turns mixed into batches as traffic mixes them, a takeover in the middle."""
    random, committed = Random(seed), Committed()
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        open_turns: dict[int, list[list[tuple[int, int]]]] = {shard: [] for shard in range(SHARDS)}
        for saga_no in range(1, count + 1):
            bodies, shard = some_journal(random), saga_no % SHARDS
            facts = insert_saga(cursor, saga_no, bodies, shard=shard)
            takeover = Takeover(j.us(1.2), 2, "successor")
            committed.expected |= {span.span_id for span in spans_of(facts, bodies, [takeover])}
            open_turns[shard].append([(saga_no, pos) for pos in range(len(bodies))])
        for shard, sagas in open_turns.items():
            cursor.execute(
                "INSERT INTO amends.takeovers (shard, epoch, name, at) VALUES (%s, 2, 'successor', to_timestamp(%s))",
                (shard, j.us(1.2) / 1e6),
            )
            batch_no = 0
            while sagas:
                batch_no += 1
                picked = [random.choice(sagas) for _ in range(random.randint(1, turns_max))]
                turns = [one.pop(0) for one in picked if one]
                sagas[:] = [one for one in sagas if one]
                if turns:
                    queue(cursor, shard, batch_no, turns, epoch=2)
                    committed.batches += 1
    return committed


def waiting(url: str) -> int:
    """Rows of the span queue."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM amends.span_queue").fetchone()
    assert row is not None
    return int(row[0])
