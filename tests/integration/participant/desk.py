"""Stands where the orchestrator would: sends what it would send, and reads the answers where the participant left them.

The answers are read from the participant's own outbox, so no relay is needed and nothing is deleted behind our back.
"""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
from confluent_kafka import Producer

from orchestrator.contracts import Command, Event
from orchestrator.messaging import avro
from orchestrator.messaging.control import ProblemRecord
from orchestrator.messaging.envelope import Envelope
from orchestrator.messaging.events import event_row
from orchestrator.messaging.outgoing import Request, command_row, settled_row, undo_row
from orchestrator.messaging.topics import Topics
from outbox_relay.rows import HEADER_COLUMNS, Row, murmur2
from tests.deadlines import eventually


@dataclass(frozen=True)
class Answer:
    kind: str
    key: str
    attempt: int
    outcome: str
    type: str
    payload: bytes
    nonce: str

    @property
    def problem(self):
        return ProblemRecord.decode(self.payload).problem

    @property
    def value(self) -> Any:
        return avro.decode(self.payload)


class Desk:
    def __init__(self, database_url: str, kafka: str, prefix: str, partitions: dict[str, int]) -> None:
        self.topics = Topics(prefix)
        self.partitions = partitions
        self.connection = psycopg.connect(database_url, autocommit=True)
        self.producer = Producer({"bootstrap.servers": kafka, "linger.ms": 0}) if kafka else None
        self.sent_at: dict[str, datetime] = {}

    def close(self) -> None:
        self.connection.close()

    def new_key(self) -> str:
        return f"{uuid4()}:0:{secrets.randbelow(100)}"

    # --- rows, as the orchestrator's outbox would have them

    def request(self, key: str, command: Command[Any], attempt: int, expires_in_s: float = 3600) -> Request:
        return Request(
            topic=self.topics.commands(command.__service__),
            saga_id=f"saga-{key}",
            operation_key=key,
            attempt=attempt,
            type=command.__wire_name__,
            reply_to=f"{self.topics.sagas}/0",
            nonce=f"nonce-{key}",
            expires_at=(datetime.now(UTC) + timedelta(seconds=expires_in_s)).isoformat(),
        )

    def command_row(self, key: str, command: Command[Any], attempt: int = 1, expires_in_s: float = 3600) -> Row:
        self.sent_at.setdefault(key, datetime.now(UTC))
        return command_row(self.request(key, command, attempt, expires_in_s), command.model_dump(mode="json"))

    def undo_row(
        self, key: str, command: Command[Any], known: str, reply: Any = None, *, attempt: int = 1,
        age_s: float = 0.0, expires_in_s: float = 3600,
    ) -> Row:  # fmt: skip
        sent_at = self.sent_at.setdefault(key, datetime.now(UTC)) - timedelta(seconds=age_s)
        return undo_row(
            self.request(key, command, attempt, expires_in_s),
            body=command.model_dump(mode="json"),
            known=known,
            reply=reply,
            attempts=1,
            sent_at_us=int(sent_at.timestamp() * 1e6),
        )

    def settled_row(self, service: str, *keys: str) -> Row:
        return settled_row(topic=self.topics.commands(service), saga_id="saga", keys=keys)

    def event_row(self, event: Event, event_id: str | None = None) -> Row:
        return event_row(event, topics=self.topics, event_id=event_id)

    # --- through Kafka

    def send(self, *rows: Row) -> None:
        for row in rows:
            headers = [("id", (row.id or str(uuid4())).encode()), ("type", row.type.encode())]
            headers += [(n, row.headers[n].encode()) for n in HEADER_COLUMNS if n in row.headers]
            partition = row.partition
            if partition is None:
                partition = murmur2(row.key.encode()) % self.partitions[row.topic]
            self.producer.produce(row.topic, row.payload, row.key.encode(), partition, headers=headers)
        assert self.producer.flush(30) == 0

    def command(self, key: str, command: Command[Any], attempt: int = 1, **options: Any) -> None:
        self.send(self.command_row(key, command, attempt, **options))

    def undo(self, key: str, command: Command[Any], known: str, reply: Any = None, **options: Any) -> None:
        self.send(self.undo_row(key, command, known, reply, **options))

    # --- what came back

    def answers(self, key: str | None = None, kind: str | None = None) -> list[Answer]:
        rows = self.connection.execute(
            """SELECT kind, operation_key, attempt, outcome, type, payload, nonce FROM amends.outbox
            WHERE kind IN ('reply', 'undone') AND (%(key)s::text IS NULL OR operation_key = %(key)s)
              AND (%(kind)s::text IS NULL OR kind = %(kind)s) ORDER BY seq""",
            {"key": key, "kind": kind},
        ).fetchall()
        return [Answer(*row) for row in rows]

    def answer(self, key: str, kind: str = "reply", n: int = 1, seconds: float = 15) -> Answer:
        """The n-th answer of this kind to this key."""
        return eventually(
            lambda: found[n - 1] if len(found := self.answers(key, kind)) >= n else None,
            seconds,
            f"answer {n} ({kind}) to {key}; inbox: {self.state(key)}",
        )

    def state(self, key: str) -> str | None:
        found = self.connection.execute("SELECT state FROM amends.inbox WHERE key = %s", (key,)).fetchone()
        return None if found is None else found[0]

    def until(self, key: str, *states: str | None, seconds: float = 15) -> None:
        eventually(lambda: self.state(key) in states, seconds, f"inbox {key} in {states}, is {self.state(key)}")

    def one(self, statement: str, *params: Any) -> Any:
        return self.connection.execute(statement, params or None).fetchone()[0]


def envelope_of(row: Row, *, offset: int = 0, age_s: float = 0.0) -> Envelope:
    """The row as it would come from Kafka, for tests that hand messages over themselves."""
    headers = dict(row.headers)
    return Envelope(
        topic=row.topic,
        partition=row.partition or 0,
        offset=offset,
        timestamp_ms=int((time.time() - age_s) * 1e3),
        key=row.key,
        id=row.id or str(uuid4()),
        type=row.type,
        kind=headers.pop("kind"),
        payload=row.payload,
        attempt=int(headers.pop("attempt", "1")),
        **headers,
    )


def envelopes_of(rows: Sequence[Row]) -> list[Envelope]:
    return [envelope_of(row, offset=i) for i, row in enumerate(rows)]
