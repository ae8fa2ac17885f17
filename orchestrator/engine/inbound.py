"""What came from Kafka, read: an envelope becomes an entry, a start, or something that can't be delivered."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

from orchestrator.canonical import canonical_json, input_hash
from orchestrator.core.entries import Entry, Replied, SettleRequested, UndoReplied, UndoRequested
from orchestrator.core.ids import OperationKey
from orchestrator.engine import mail, sagas
from orchestrator.errors import AmendsError
from orchestrator.messaging import avro, control
from orchestrator.messaging.envelope import Envelope, Unreadable
from orchestrator.problems import Problem

VERSION_MAX = 2**31 - 1  # the column


@dataclass(frozen=True, slots=True)
class StartCame:
    """`row.saga_no` is 0: it gets one if the row is not there yet."""

    row: sagas.SagaRow


@dataclass(frozen=True, slots=True)
class MessageCame:
    message: mail.Waiting


@dataclass(frozen=True, slots=True)
class AnswerCame:
    """To an operation. `uid` tells sagas apart that had the same id; the nonce is checked by who knows the secret."""

    saga_id: str
    uid: str
    operation_key: str
    nonce: str | None
    entry: Entry


@dataclass(frozen=True, slots=True)
class ParentCame:
    """A parent takes this saga back, or says that it never will."""

    saga_id: str
    operation_key: str
    nonce: str | None
    entry: UndoRequested | SettleRequested


@dataclass(frozen=True, slots=True)
class Dead:
    """Nobody can take it; it goes to the dead letters with the reason."""

    error: str


Came = StartCame | MessageCame | AnswerCame | ParentCame | Dead


@dataclass(frozen=True, slots=True)
class Item:
    """One message of one shard, with where it stood."""

    shard: int
    offset: int
    raw: Envelope | Unreadable
    came: Came = field(compare=False)
    saga_id: str | None = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "saga_id", _saga_of(self.came))


def _saga_of(came: Came) -> str | None:
    match came:
        case AnswerCame() | ParentCame():
            return came.saga_id
        case StartCame(row):
            return row.id
        case MessageCame(message):
            return message.saga_id
        case Dead():
            return None


def read(message: Envelope | Unreadable, at_us: int) -> Came:
    """Never raises for what a message holds: what can't be read is Dead."""
    if isinstance(message, Unreadable):
        return Dead(message.error)
    try:
        return _read(message, at_us)
    except (AmendsError, ValueError, KeyError, TypeError, RecursionError) as error:
        return Dead(f"{type(error).__name__}: {error}")


def _read(m: Envelope, at_us: int) -> Came:
    match m.kind:
        case "reply":
            return _answer(m, _reply_entry, at_us)
        case "undone":
            return _answer(m, _undone_entry, at_us)
        case "child_ended":
            return _answer(m, _child_entry, at_us)
        case "start":
            return StartCame(_start_row(m))
        case "message":
            body = avro.decode(m.payload)
            return MessageCame(mail.Waiting(_saga_id(m), _uuid(m.id), m.type, m.channel or "", body))
        case "child_undo":
            key, reply_to = _required(m.operation_key, "operation_key"), _required(m.reply_to, "reply_to")
            entry = UndoRequested(at_us=at_us, key=key, attempt=m.attempt, reply_to=reply_to)
            return ParentCame(_saga_id(m), key, m.nonce, entry)
        case "child_settle":
            key = _required(m.operation_key, "operation_key")
            return ParentCame(_saga_id(m), key, m.nonce, SettleRequested(at_us=at_us, key=key))
    return Dead(f"a message of kind {m.kind!r} is not for sagas")


def _answer(m: Envelope, entry_of: Callable[[Envelope, int, int], Entry], at_us: int) -> AnswerCame:
    text = _required(m.operation_key, "operation_key")
    key = OperationKey.parse(text)
    return AnswerCame(_saga_id(m), key.saga_uid, text, m.nonce, entry_of(m, key.seq, at_us))


def _reply_entry(m: Envelope, seq: int, at_us: int) -> Replied:
    if m.outcome == "succeeded":
        return Replied(at_us=at_us, seq=seq, attempt=m.attempt, outcome="succeeded", body=avro.decode(m.payload))
    problem = control.ProblemRecord.decode(m.payload).problem
    if m.outcome not in ("retry", "failed", "conflict"):
        raise ValueError(f"a reply can't have the outcome {m.outcome!r}")
    return Replied(at_us=at_us, seq=seq, attempt=m.attempt, outcome=cast("Any", m.outcome), problem=problem)


def _undone_entry(m: Envelope, seq: int, at_us: int) -> UndoReplied:
    if m.outcome not in ("undone", "failed", "retry"):
        raise ValueError(f"an answer to an undo can't have the outcome {m.outcome!r}")
    problem = control.ProblemRecord.decode(m.payload).problem if m.payload else None
    outcome = cast("Any", m.outcome)
    return UndoReplied(at_us=at_us, seq=seq, attempt=m.attempt, outcome=outcome, problem=problem)


def _child_entry(m: Envelope, seq: int, at_us: int) -> Replied:
    ended = control.ChildEnded.decode(m.payload)
    if ended.outcome == "succeeded":
        return Replied(at_us=at_us, seq=seq, attempt=m.attempt, outcome="succeeded", body=ended.result)
    problem = ended.problem or Problem(kind="error", type="ChildEnded")
    return Replied(at_us=at_us, seq=seq, attempt=m.attempt, outcome="failed", problem=problem)


def _start_row(m: Envelope) -> sagas.SagaRow:
    """Nothing vouches for a start but that it lies in the topic: what its row or its first turn could not take is found
    here, before it shares a batch with others.
    """
    start = control.Start.decode(m.payload)
    # Not every client writes JSON as ours do, and the same input must be the same text.
    given = canonical_json(control.from_json_text(start.input))
    if not 1 <= start.version <= VERSION_MAX:
        raise ValueError(f"the version {start.version} is not one from 1 to {VERSION_MAX}")
    if (start.parent_key is None) != (start.parent_reply_to is None):
        raise ValueError("a child's start has both parent_key and parent_reply_to")
    return sagas.SagaRow(
        saga_no=0,
        id=_saga_id(m),
        uid=str(UUID(start.uid)),
        type=start.type,
        version=start.version,
        shard=m.partition,
        status="queued",
        input=given,
        input_hash=input_hash(start.type, given),
        parent_id=start.parent_id,
        parent_key=start.parent_key,
        parent_reply_to=start.parent_reply_to,
        traceparent=m.traceparent or None,
    )


def _uuid(text: str) -> str:
    """In the one form that doubles are known by, in memory as in the mailbox."""
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError(f"the header id {text!r} is no UUID") from None


def _saga_id(m: Envelope) -> str:
    return _required(m.saga_id, "saga_id")


def _required(value: str | None, header: str) -> str:
    if not value:
        raise ValueError(f"the header {header} is missing")
    return value
