"""Which stage each open saga is in: read from the databases while every process that could change it is frozen.

A saga's stage follows from its journal (what was asked, what was answered), the orchestrator's outbox (what has not
left yet) and the services' inboxes (what was begun, what was answered). No look at one of them alone can tell "sent"
from "answered, but not read". Whether a call that payments has begun has reached the gateway, or waits for a place, the
gateway's book tells.
"""

import asyncio
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, LiteralString, get_args

import psycopg
from psycopg.rows import TupleRow

Stage = Literal["command_in_outbox", "command_sent", "gateway_call_running", "reply_unread", "undo_under_way"]
STAGES: tuple[Stage, ...] = get_args(Stage)
IN_SAGAS = ("orders", "stock", "payments", "shipping")

OWNED: LiteralString = """
    SELECT s.shard, w.pid FROM amends.shards s JOIN amends.workers w ON w.worker = s.worker
"""
OPEN: LiteralString = """
    SELECT s.saga_no, s.id, s.uid::text, s.shard, j.pos, j.body
    FROM amends.sagas s JOIN amends.journal j USING (saga_no)
    WHERE s.status IN ('running', 'compensating') ORDER BY s.saga_no, j.pos
"""
OUTBOX: LiteralString = "SELECT seq, operation_key FROM amends.outbox WHERE kind IN ('command', 'undo')"
INBOX: LiteralString = "SELECT key, state, run FROM amends.inbox WHERE key = ANY(%s)"

IN_GATEWAY: LiteralString = "SELECT DISTINCT key FROM attempts WHERE ended_at IS NULL AND kind = 'charge'"

Connection = psycopg.AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class OpenSaga:
    """A saga that has not ended. `calls` and `undos` are the keys of its open operations."""

    number: int
    id: str
    shard: int
    position: int
    calls: Sequence[str]
    undos: Sequence[str]


@dataclass(frozen=True, slots=True)
class Look:
    """The sagas at one moment. `stages`: stage -> ids; one saga may be in several, if it does several things."""

    owned: Mapping[int, frozenset[int]]  # pid of an orchestrator -> its shards
    sagas: Sequence[OpenSaga]
    stages: Mapping[int, Mapping[Stage, frozenset[str]]]  # shard -> stage -> saga ids
    outbox_seqs: frozenset[int] = frozenset()
    gateway_calls: Mapping[str, int] = field(default_factory=dict)  # key -> run

    def counts(self, shards: Iterable[int]) -> dict[Stage, int]:
        """How many sagas of these shards are in each stage."""
        mine = set(shards)
        found = [by_stage for shard, by_stage in self.stages.items() if shard in mine]
        return {stage: sum(len(by_stage.get(stage, ())) for by_stage in found) for stage in STAGES}

    def positions(self, shards: Iterable[int]) -> dict[int, int]:
        """saga_no -> position, of the open sagas of these shards."""
        mine = set(shards)
        return {saga.number: saga.position for saga in self.sagas if saga.shard in mine}


class Eye:
    """Connections to all databases, kept open, so that a look takes a few milliseconds."""

    def __init__(self, connections: Mapping[str, Connection], book: sqlite3.Connection) -> None:
        self._connections = connections
        self._book = book

    @classmethod
    async def open(cls, urls: Mapping[str, str], gateway_book: Path) -> "Eye":
        """Connect to the orchestrator's database and those of the services that take part in sagas."""
        names = ("orchestrator", *IN_SAGAS)
        opened = [await psycopg.AsyncConnection.connect(urls[name], autocommit=True) for name in names]
        book = sqlite3.connect(f"file:{gateway_book}?mode=ro", uri=True)
        return cls(dict(zip(names, opened, strict=True)), book)

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._connections.values():
            await connection.close()
        self._book.close()

    async def ask(
        self, statement: LiteralString, params: Sequence[Any] = (), *, of: str = "orchestrator"
    ) -> list[TupleRow]:
        """Rows of one database."""
        return await (await self._connections[of].execute(statement, params)).fetchall()

    async def look(self) -> Look:
        """Read everything; exact if the processes are frozen, else a moment apart from database to database."""
        owned: dict[int, set[int]] = defaultdict(set)
        for shard, pid in await self.ask(OWNED):
            owned[pid].add(shard)
        sagas = open_sagas(await self.ask(OPEN))
        outbox = await self.ask(OUTBOX)
        keys = [key for saga in sagas for key in saga.calls]
        inboxes = await asyncio.gather(*(self.ask(INBOX, (keys,), of=name) for name in IN_SAGAS))
        in_gateway = {key for (key,) in self._book.execute(IN_GATEWAY)}
        running = inboxes[IN_SAGAS.index("payments")]
        calls = {key: run for key, state, run in running if state == "running" and key in in_gateway}
        inbox = {key: state for rows in inboxes for key, state, _ in rows}
        return Look(
            owned={pid: frozenset(shards) for pid, shards in owned.items()},
            sagas=sagas,
            stages=staged(sagas, Places({key for _, key in outbox}, inbox, in_gateway)),
            outbox_seqs=frozenset(seq for seq, _ in outbox),
            gateway_calls=calls,
        )


def open_sagas(rows: Iterable[TupleRow]) -> list[OpenSaga]:
    """From journal rows, ordered by saga and position."""
    journals: dict[int, list[TupleRow]] = defaultdict(list)
    for row in rows:
        journals[row[0]].append(row)
    return [open_saga(journal) for journal in journals.values()]


def open_saga(journal: Sequence[TupleRow]) -> OpenSaga:
    number, id_, uid, shard, position, _ = journal[-1]
    calls: set[int] = set()
    undos: set[int] = set()
    for part in (part for row in journal for part in json.loads(row[5])):
        match part:
            case {"op": "call", "seq": seq}:
                calls.add(seq)
            case {"op": "undo", "undo_of": seq}:
                calls.discard(seq)
                undos.add(seq)
            case {"in": "replied", "seq": seq, **rest} if rest.get("outcome") in (None, "succeeded", "failed"):
                calls.discard(seq)
            case {"in": "undo_replied", "seq": seq, "outcome": "undone"}:
                undos.discard(seq)
    keys, undo_keys = ([f"{uid}:0:{seq}" for seq in sorted(seqs)] for seqs in (calls, undos))
    return OpenSaga(number, id_, shard, position, keys, undo_keys)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the keys of calls were seen."""

    outbox: AbstractSet[str]
    inbox: Mapping[str, str]  # key -> state
    gateway: AbstractSet[str]

    def stage_of(self, key: str) -> Stage | None:
        """The stage of one open call. None: it waits for its next attempt, or for a place in payments' bulkhead."""
        match self.inbox.get(key):  # First, because a sent row stays in the outbox until the relay has deleted it.
            case "running":
                return "gateway_call_running" if key in self.gateway else None
            case "done" | "failed":
                return "reply_unread"
            case None if key not in self.outbox:
                return "command_sent"
        return "command_in_outbox" if key in self.outbox else None


def staged(sagas: Iterable[OpenSaga], places: Places) -> dict[int, dict[Stage, frozenset[str]]]:
    """Shard -> stage -> ids of sagas."""
    found: dict[int, dict[Stage, set[str]]] = defaultdict(lambda: defaultdict(set))
    for saga in sagas:
        for key in saga.calls:
            if stage := places.stage_of(key):
                found[saga.shard][stage].add(saga.id)
        if saga.undos:
            found[saga.shard]["undo_under_way"].add(saga.id)
    return {shard: {stage: frozenset(ids) for stage, ids in stages.items()} for shard, stages in found.items()}
