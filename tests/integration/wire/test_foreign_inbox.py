"""What a foreign participant remembers: messages in every order, twice, too late, and wrong, as an orchestrator of ours
would write them; and each of its answers as an orchestrator of ours would read it.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from orchestrator.core.entries import Replied, UndoReplied
from orchestrator.engine import inbound
from orchestrator.messaging import avro
from orchestrator.messaging.envelope import Envelope, read_envelope
from orchestrator.messaging.outgoing import Request, command_row, settled_row, undo_row
from orchestrator.messaging.topics import Topics
from outbox_relay.rows import HEADER_COLUMNS, Row, kafka_headers
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import System
from tests.integration.wire.conftest import Strangers
from tests.integration.wire.contracts import Balance, Deposit

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
PARTITION = 3  # where the answers are wanted


class Sender:
    """Stands where an orchestrator would: writes rows, the relay's bytes, and reads the answers."""

    def __init__(self, system: System) -> None:
        self.topics = Topics(system.settings.topic_prefix)
        servers = {"bootstrap.servers": system.settings.kafka_bootstrap_servers}
        self.producer = Producer(servers)
        self.consumer = Consumer({**servers, "group.id": f"{system.settings.topic_prefix}desk"})
        self.consumer.assign([TopicPartition(self.topics.sagas, PARTITION, 0)])
        self.key = f"{uuid4()}:0:0"
        self.as_debezium = False

    def request(self, type_: str, attempt: int, expires_in_s: float = 3600, **other: str) -> Request:
        expires = datetime.now(UTC) + timedelta(seconds=expires_in_s)
        given = Request(
            topic=self.topics.commands("till"),
            saga_id="sender",
            operation_key=self.key,
            attempt=attempt,
            type=type_,
            reply_to=f"{self.topics.sagas}/{PARTITION}",
            nonce=f"nonce of {self.key}",
            expires_at=expires.isoformat(timespec="milliseconds"),
        )
        return replace(given, **other)

    def send(self, row: Row, payload: bytes | None = None) -> None:
        """With the headers as our relay writes them, and every other time with Debezium's nulls in between."""
        columns = [row.headers[name].encode() if name in row.headers else None for name in HEADER_COLUMNS]
        headers = kafka_headers(7, str(uuid4()).encode(), row.type.encode(), columns)
        if self.as_debezium:
            headers += [(name, None) for name in HEADER_COLUMNS if name not in row.headers]
        self.as_debezium = not self.as_debezium
        body = row.payload if payload is None else payload
        self.producer.produce(row.topic, body, row.key.encode(), 0, headers=headers)
        assert self.producer.flush(30) == 0

    def command(self, amount: str = "10", attempt: int = 1, **options: float) -> None:
        self.send(command_row(self.request("Deposit", attempt, **options), said(amount)))

    def undo(self, known: str, amount: str = "10", reply: object = None, attempt: int = 1, **options: float) -> None:
        request = self.request("Deposit", attempt, **options)
        self.send(undo_row(request, body=said(amount), known=known, reply=reply, attempts=1, sent_at_us=1))

    def answer(self) -> Envelope:
        """The next one."""
        message = self.consumer.poll(deadline(60))
        assert message is not None, "no answer"
        assert message.error() is None
        read = read_envelope(
            topic=message.topic(),
            partition=message.partition(),
            offset=message.offset(),
            timestamp_ms=message.timestamp()[1],
            key=message.key(),
            headers=message.headers(),
            payload=message.value(),
        )
        assert isinstance(read, Envelope), read
        assert (read.key, read.saga_id, read.operation_key) == ("sender", "sender", self.key)
        assert (read.partition, read.nonce) == (PARTITION, f"nonce of {self.key}")
        return read

    def entry(self) -> Replied | UndoReplied:
        """The next one, as it comes into a saga."""
        came = inbound.read(self.answer(), 0)
        assert isinstance(came, inbound.AnswerCame), came
        assert isinstance(came.entry, Replied | UndoReplied)
        return came.entry

    def says(self) -> tuple[str, int, str | None]:
        """The next one: outcome, attempt, and the problem's type."""
        entry = self.entry()
        return entry.outcome, entry.attempt, entry.problem and entry.problem.type


def said(amount: str) -> dict[str, object]:
    return Deposit(account="a", amount=Decimal(amount), at=NOON).model_dump(mode="json")


@pytest.fixture
def sender(system: System, strangers: Strangers) -> Iterator[Sender]:
    strangers.till()
    made = Sender(system)
    yield made
    made.consumer.close()


def test_a_command_that_comes_again_is_answered_from_the_inbox_by_its_own_number(sender, strangers) -> None:
    answers = []
    for attempt in (1, 1, 2):
        sender.command(attempt=attempt)
        answers.append(sender.answer())
    assert [answer.attempt for answer in answers] == [1, 1, 2]
    assert {answer.outcome for answer in answers} == {"succeeded"}
    assert len({answer.payload for answer in answers}) == 1
    assert strangers.ledger("a") == ["10"]


def test_an_undo_before_its_command_leaves_a_tombstone(sender, strangers) -> None:
    sender.undo("unknown")
    assert sender.says() == ("undone", 1, None)
    sender.command()
    assert sender.says() == ("failed", 1, "Refused")
    sender.command(attempt=2)
    assert sender.says() == ("failed", 2, "Refused")
    sender.undo("unknown", attempt=2)
    assert sender.says() == ("undone", 2, None)
    assert strangers.ledger("a") == []


def test_an_undo_runs_once_and_what_comes_behind_it_is_refused(sender, strangers) -> None:
    sender.command()
    assert sender.says() == ("succeeded", 1, None)
    for attempt in (1, 2):
        sender.undo("unknown", attempt=attempt)
        assert sender.says() == ("undone", attempt, None)
    sender.command()
    assert sender.says() == ("failed", 1, "Refused")
    assert strangers.ledger("a") == ["10", "-10"]


def test_an_undo_whose_command_it_has_forgotten_runs_with_the_reply_that_came_along(sender, strangers) -> None:
    sender.command()
    reply = avro.decode(sender.answer().payload)
    sender.send(settled_row(topic=sender.topics.commands("till"), saga_id="sender", keys=[sender.key]))
    eventually(lambda: strangers.rows("SELECT 1 FROM inbox WHERE settled"), 30, "the notice that it may be forgotten")
    strangers.write("DELETE FROM inbox")
    sender.undo("done", reply=reply)
    assert sender.says() == ("undone", 1, None)
    assert strangers.ledger("a") == ["10", "-10"]


def test_the_same_key_with_another_content_is_a_conflict_and_changes_nothing(sender, strangers) -> None:
    sender.command("10")
    assert sender.says() == ("succeeded", 1, None)
    sender.command("10.01", attempt=2)
    assert sender.says() == ("conflict", 2, "KeyConflict")
    sender.undo("unknown", "10.01")
    assert sender.says() == ("failed", 1, "KeyConflict")
    sender.send(command_row(sender.request("Balance", 3), Balance(account="a").model_dump()))
    assert sender.says() == ("conflict", 3, "KeyConflict")
    assert strangers.ledger("a") == ["10"]


def test_what_came_too_late_is_not_begun_nor_later(sender, strangers) -> None:
    sender.undo("unknown", expires_in_s=-1)  # a late copy, which nobody waits for
    sender.command(expires_in_s=-1)
    assert sender.says() == ("failed", 1, "Expired")
    sender.command(attempt=2)
    assert sender.says() == ("failed", 2, "Expired")
    assert strangers.ledger("a") == []


def test_a_final_no_is_said_again_and_needs_no_undo(sender, strangers) -> None:
    for attempt in (1, 2):
        sender.command("1000.01", attempt=attempt)
        entry = sender.entry()
        assert (entry.outcome, entry.attempt, entry.problem.fields) == (
            "failed", attempt, {"account": "a", "limit": "1000"},
        )  # fmt: skip
    sender.undo("unknown", "1000.01")
    assert sender.says() == ("undone", 1, None)
    assert strangers.ledger("a") == []


def test_what_it_can_not_read_is_answered_or_put_aside_and_nothing_stops(sender, strangers) -> None:
    row = command_row(sender.request("Deposit", 1), said("10"))
    sender.send(row, b"\xc3\x01" + b"\x00" * 8)
    assert sender.says() == ("retry", 1, "UnknownSchema")
    sender.send(row, row.payload[:-3])
    assert sender.says()[0] == "failed"
    sender.send(replace(row, type="Shred"))
    assert sender.says() == ("retry", 1, "NoHandler")
    for name in ("reply_to", "nonce", "operation_key", "saga_id"):
        sender.send(replace(row, headers={k: v for k, v in row.headers.items() if k != name}))
    sender.send(replace(row, headers={**row.headers, "kind": "start"}))
    sender.command()
    assert sender.says() == ("succeeded", 1, None)
    assert len(strangers.rows("SELECT 1 FROM dead")) == 5


def test_a_former_version_of_a_schema_is_read_and_is_the_same_command(sender, strangers) -> None:
    """The sender is younger by a field that has a default; then an old copy of the command comes."""
    schema = avro.schema_of(Deposit)
    older = {**schema, "fields": [field for field in schema["fields"] if field["name"] != "hint"]}
    codec = avro.register(older)
    former = strangers.schemas / "former"
    former.mkdir()
    (former / f"Deposit.{codec.mark[2:].hex()}.avsc").write_text(json.dumps(older))
    strangers.stop()
    strangers.till()
    sender.command()
    assert sender.says() == ("succeeded", 1, None)
    body = {name: value for name, value in said("10").items() if name != "hint"}
    sender.send(command_row(sender.request("Deposit", 2), said("10")), codec.encode(body))
    assert sender.says() == ("succeeded", 2, None)
    assert strangers.ledger("a") == ["10"]
