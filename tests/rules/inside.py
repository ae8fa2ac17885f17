"""The inside of an orchestrator without its servers: what came in is fed, and what would be written is looked at.

Everything here is the real engine between intake and commit; the batch that it fills is never written.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

import psycopg

from orchestrator import limits
from orchestrator.canonical import canonical_json, input_hash
from orchestrator.contracts import Message
from orchestrator.core.entries import Json
from orchestrator.core.registry import Registry
from orchestrator.core.saga_type import SagaType
from orchestrator.core.turn import LiveSaga
from orchestrator.engine import fence, inbound, journal, mail
from orchestrator.engine.admission import Admission
from orchestrator.engine.batch import Batch, ShardWrites
from orchestrator.engine.cache import Cache, Resident
from orchestrator.engine.committer import Committer
from orchestrator.engine.feed import Feed
from orchestrator.engine.intake import Intake
from orchestrator.engine.outbound import Outbound
from orchestrator.engine.ownership import Ownership
from orchestrator.engine.poison import Watchdog
from orchestrator.engine.processing import Known, Processing
from orchestrator.engine.sagas import SagaRow
from orchestrator.engine.step_starts import StepStarts
from orchestrator.engine.steps import StepRunner
from orchestrator.engine.topology import Topology
from orchestrator.engine.turns import Start, Turns
from orchestrator.engine.wakeups import Wakeups
from orchestrator.engine.watermarks import Watermarks
from orchestrator.messaging import outgoing
from orchestrator.messaging.envelope import Unreadable
from orchestrator.messaging.nonce import nonce_of
from orchestrator.messaging.topics import Topics
from orchestrator.problems import Problem
from outbox_relay.rows import Row
from tests.integration.participant.desk import envelope_of

SECRET = b"a secret of this installation"
SHARD = 2
NOBODY: Any = None  # no connection: what these tests feed needs no look at the database
BEGIN_US = 1_800_000_000_000_000


class Inside:
    """One orchestrator that holds all shards. `rows` are the journals of its sagas, as they would be committed."""

    def __init__(self, *sagas: SagaType[Any, Any], at_work_max: int = limits.SAGAS_AT_WORK_MAX) -> None:
        self.now_us = BEGIN_US
        self.registry = Registry(sagas)
        self.cache = Cache(self.registry)
        self.outbound = Outbound(Topics(), lambda _topic: 4, 4, SECRET, lambda: self.now_us)
        self.admission = Admission(at_work_max)
        self.turns = Turns(self.registry, self.cache, self.outbound, lambda: self.now_us, self.admission)
        self.processing = Processing(self.registry, self.cache, self.turns, self.outbound, lambda: self.now_us)
        self.journals: dict[int, list[list[Json]]] = {}
        self._offset = 0

    def saga_row(self, saga: SagaType[Any, Any], input: Json, id: str) -> SagaRow:
        given = canonical_json(input)
        uid = str(uuid5(NAMESPACE_URL, f"rules:{id}"))
        return SagaRow(
            len(id), id, uid, saga.name, saga.version, SHARD, "queued", given, input_hash(saga.name, given)
        )  # fmt: skip

    def start(self, saga: SagaType[Any, Any], input: Json, id: str, *early: mail.Waiting) -> ShardWrites:
        """Its first turn, and what lay in the mailbox."""
        row = self.saga_row(saga, input, id)
        return self._batch(lambda batch: self.turns.start(batch, Start(row), list(early), self.raw(id)))

    def come(self, *rows: Row) -> ShardWrites:
        """These messages, in one batch."""
        return self._batch(
            lambda batch: [self.processing.process(batch, self.item(row), Known({}, {}), NOBODY) for row in rows]
        )

    def come_astray(self, row: Row, shard: int) -> Batch:
        """This message, in a partition that is not its saga's."""
        batch = Batch()
        self.processing.process(batch, self.item(row, shard), Known({}, {}), NOBODY)
        return batch

    def item(self, row: Row, shard: int = SHARD) -> inbound.Item:
        self._offset += 1
        envelope = envelope_of(replace(row, partition=shard), offset=self._offset)
        return inbound.Item(shard, self._offset, envelope, inbound.read(envelope, self.now_us))

    def raw(self, id: str) -> Unreadable:
        """In place of the message that a start came in: for the dead letters, if it is refused."""
        return Unreadable(topic="sagas", partition=SHARD, offset=self._offset, headers=(), payload=None, error=id)

    def _batch(self, fill: Callable[[Batch], object]) -> ShardWrites:
        batch = Batch()
        fill(batch)
        writes = batch.of(SHARD)
        self.admission.committed(SHARD, writes.at_work)
        for row in writes.turns:
            self.journals.setdefault(row.saga_no, []).append(_loaded(row))
        return writes

    # ---- who is here

    def resident(self, id: str) -> Resident:
        resident = self.cache.get(id)
        assert resident is not None, f"{id} is not here"
        return resident

    def live(self, id: str) -> LiveSaga:
        live = self.resident(id).live
        assert live is not None, f"{id} is {self.resident(id).status}"
        return live

    def take_over(self, other: "Inside", id: str) -> None:
        """Load a saga of another orchestrator from its journal, with the code that this one has."""
        row = other.resident(id).row
        self.journals[row.saga_no] = other.journals[row.saga_no]
        resident = Resident(row, other.resident(id).status)
        self.cache._replay(resident, self.journals[row.saga_no])
        self.cache.put(resident)

    # ---- what others send to a saga

    def to(self, id: str, seq: int, *, attempt: int = 1) -> outgoing.ReturnAddress:
        key = self.resident(id).row.identity.key(seq)
        return outgoing.ReturnAddress(
            reply_to=f"sagas/{SHARD}", saga_id=id, operation_key=key, attempt=attempt, nonce=nonce_of(SECRET, key)
        )

    def succeeded(self, id: str, seq: int, command: Any, body: Json = None, *, attempt: int = 1) -> Row:
        return outgoing.succeeded_row(self.to(id, seq, attempt=attempt), command=command, body=body)

    def refused(self, id: str, seq: int, outcome: Any, problem: Problem, *, attempt: int = 1) -> Row:
        return outgoing.refused_row(self.to(id, seq, attempt=attempt), outcome=outcome, problem=problem)

    def message(self, id: str, message: Message, message_id: str) -> Row:
        return outgoing.message_row(
            topic="sagas",
            shard=SHARD,
            saga_id=id,
            wire_name=type(message).__wire_name__,
            body=message.model_dump(mode="json"),
            row_id=outgoing.message_uuid(id, message_id),
        )


def _loaded(row: journal.Row) -> list[Json]:
    loaded: list[Json] = json.loads(row.body)
    return loaded


def owner(inside: Inside, connection: psycopg.Connection[Any]) -> Ownership:
    """It holds SHARD, in a real database; nobody reads Kafka for it."""
    intake = Intake("127.0.0.1:9", "sagas", "rules", wake=lambda: None)
    wakeups, steps = Wakeups(), StepRunner({}, lambda _: None)
    starts = StepStarts(inside.cache, steps, wakeups)
    own = Ownership(
        uuid4(), intake, inside.cache, wakeups, Watermarks(), starts, lambda: "t", lambda *_: None, lambda *_: None
    )
    [own.holds[SHARD]] = fence.claim(connection, {SHARD: 0}, own.worker)
    return own


def committer(inside: Inside, own: Ownership, url: str, committed: Callable[[Batch], None]) -> Committer:
    """Writes to the database of the URL what the one inside decides."""
    topology = Topology("127.0.0.1:9", "", lambda: psycopg.connect(url, autocommit=True))
    watchdog = Watchdog(inside.cache.interrupt)
    return Committer(
        inside.processing,
        inside.cache,
        own,
        topology,
        watchdog,
        committed,
        lambda *_: None,
        spans=False,
        feed=Feed(own.worker),
    )


def kinds(rows: list[Row]) -> list[str]:
    """What leaves."""
    return [row.headers["kind"] for row in rows]
