"""What each request asks of the database, written once: generators that yield a Query and are sent its rows.

A `Pause` asks to wait. Whoever runs one (`async_client`, `sync_client`) decides on which connection and how to wait,
so that no request exists twice. Statements of one request need no transaction around them: each that writes is whole by
itself, and joins the caller's transaction if it runs on the caller's connection.
"""

import json
import sys
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from orchestrator import limits
from orchestrator.canonical import canonical_json, checked_name, checked_note, checked_saga_id, input_hash
from orchestrator.client import statements
from orchestrator.client.answers import ENDED, Started, as_status
from orchestrator.client.statements import Query
from orchestrator.contracts import Message
from orchestrator.errors import PayloadError, RequestError, SagaEnded, SagaFailed, SagaIdTaken, SagaNotFound, TimedOut
from orchestrator.messaging import avro, control
from orchestrator.messaging.outgoing import message_uuid
from orchestrator.messaging.topics import Topics
from orchestrator.problems import Problem, exception_of
from orchestrator.story.desk import NOTED
from outbox_relay import Row, table, topics
from outbox_relay.rows import murmur2

T = TypeVar("T")
Rows = list[tuple[Any, ...]]
Duration = timedelta | float

# How often a client asks for an end: soon at first, for a saga of a few steps is over in milliseconds; a question costs
# 0.1 ms, and nobody is late by more than a fifth of what he has waited.
POLL_FIRST_S = 0.003
POLL_FACTOR = 1.2
POLL_MAX_S = 1.0
ADAPTERS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait, then look again. Whoever waits may hear of the end before that (`hearing`)."""

    seconds: float


Steps = Generator[Query | Pause, Rows, T]


class StartedType(Protocol):
    """Of a saga type a client needs its name and its version."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Destination:
    """The topic of the sagas, with its prefix, and how many shards there are if this database knows."""

    topic: str
    shards: int | None


def seconds(duration: Duration | None) -> float | None:
    """A duration as asyncio takes it."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def adapter(tp: Any) -> TypeAdapter[Any]:
    """Validates and dumps values of a type; built once for each."""
    return _adapter(tp)


@lru_cache(ADAPTERS_MAX)
def _adapter(tp: Any) -> TypeAdapter[Any]:
    return TypeAdapter(tp)


def encoded_input(input_type: Any, value: Any) -> str:
    """The canonical JSON of a saga's input, checked against the annotation of the saga function."""
    try:
        types = adapter(input_type)
        # A value that was built around its validation must not reach a journal: it could not be read there.
        checked = types.validate_python(value)
        return canonical_json(types.dump_python(checked, mode="json"))
    except ValidationError as error:
        raise PayloadError(f"this input does not fit the saga's: {error}") from None
    except ValueError as error:  # pydantic's serializer: a lone surrogate, bytes that are no UTF-8
        raise PayloadError(f"this input can't travel: {error}") from None


def start(saga_type: str, version: int, input_json: str, saga_id: str, prefix: str) -> Steps[Started]:
    """Start a saga; only a row of the outbox where the database holds no sagas."""
    checked_saga_id(saga_id)
    checked_name("a saga's type", saga_type)
    uid = str(uuid.uuid4())
    payload = control.Start(uid=uid, type=saga_type, version=version, input=input_json).encode()
    to = yield from destination(prefix)
    if to.shards is None:
        yield from _add(_row("start", to, saga_id, saga_type, payload))
        return Started(saga_id, None)
    params = {
        "id": saga_id,
        "uid": uid,
        "type": saga_type,
        "version": version,
        "input": input_json,
        "input_hash": input_hash(saga_type, input_json),
        "shard": shard_of(saga_id, to.shards),
        "topic": to.topic,
        "payload": payload,
        "traceparent": traceparent(),
    }
    rows = yield Query(statements.START, params)
    created, matches = bool(rows[0][0]), bool(rows[0][1])
    if not matches:
        yield from _refuse_id(saga_id, saga_type)
    return Started(saga_id, created)


def start_latest(saga_type: str, version: int | None, input_json: str, saga_id: str, prefix: str) -> Steps[Started]:
    """Start a saga by its name alone, as people do: of the version given, else of the latest one seen, else 1."""
    if version is None:
        rows = yield Query(statements.LATEST_VERSION, {"type": checked_name("a saga's type", saga_type)})
        version = int(rows[0][0]) if rows else 1
    return (yield from start(saga_type, version, input_json, saga_id, prefix))


def send(saga_id: str, message: Message, channel: str, message_id: str | None, prefix: str) -> Steps[None]:
    """Add a message to the outbox. Its row's id is what the saga knows doubles by."""
    type_name = type(message).__wire_name__
    payload = avro.encode(type(message), message.model_dump(mode="json"))
    return (yield from send_encoded(saga_id, type_name, payload, channel, message_id, prefix))


def send_encoded(
    saga_id: str, type_name: str, payload: bytes, channel: str, message_id: str | None, prefix: str
) -> Steps[None]:
    """As `send`, for a message whose class is not imported here."""
    checked_saga_id(saga_id)
    checked_name("a message's type", type_name)
    checked_name("a channel", channel, empty=True)
    to = yield from destination(prefix)
    rows = [] if to.shards is None else (yield Query(statements.SELECT_SHARD, {"id": saga_id}))
    shard = int(rows[0][0]) if rows else None  # Where the saga was put; its number of shards may have grown since.
    row_id = None if message_id is None else message_uuid(saga_id, checked_name("a message's id", message_id))
    yield from _add(_row("message", to, saga_id, type_name, payload, channel, row_id, shard))


def result(saga_id: str, saga_type: str | None) -> Steps[str]:
    """Wait for a saga's end; its result as JSON, or its Failure or SagaFailed. `saga_type` None: of any type."""
    checked_saga_id(saga_id)
    pause_s = POLL_FIRST_S
    while True:
        rows = yield Query(statements.SELECT_END, {"id": saga_id})
        if not rows:
            raise SagaNotFound(not_found(saga_id))
        found_type, status, value, problem, left_undone = rows[0]
        if saga_type is not None and found_type != saga_type:
            raise RequestError(f"saga {saga_id} is a {found_type}, not a {saga_type}")
        if status == "completed":
            return str(value) if value is not None else "null"
        if status in ENDED:
            raise ended_by(saga_id, status, problem, tuple(left_undone or ()))
        yield Pause(pause_s)
        pause_s = min(pause_s * POLL_FACTOR, POLL_MAX_S)


def too_late(saga_id: str, timeout_s: float | None) -> TimedOut:
    """Whoever waited for its end waits no longer."""
    return TimedOut(f"saga {saga_id} has not ended within {timedelta(seconds=timeout_s or 0)}; it goes on")


def ended_by(saga_id: str, status: str, problem_json: str | None, left_undone: tuple[str, ...]) -> Exception:
    """What the client of a saga that did not complete meets.

    A Failure says that nothing happened: if something was left as it is (skipped by a person), it is none any more.
    """
    problem = Problem.from_json(json.loads(problem_json)) if problem_json else None
    if problem is not None and problem.kind == "failure" and status == "failed" and not left_undone:
        return exception_of(problem)
    what = {"cancelled": "CancelledError", "terminated": "Terminated"}.get(status, "Error")
    return SagaFailed(
        saga_id,
        status,  # type: ignore[arg-type]  # one of ENDED, and not completed
        problem.type if problem else what,
        problem.text if problem else "",
        left_undone=left_undone or (problem.left_undone if problem else ()),
        remote_traceback=problem.traceback if problem else "",
    )


def get(saga_id: str, key: str) -> Steps[str | None]:
    """What the saga last `set` under this key, as JSON; None if it never did."""
    checked_saga_id(saga_id)
    checked_name("a value's key", key)
    rows = yield Query(statements.SELECT_VALUE, {"id": saga_id, "key": key})
    if not rows:
        raise SagaNotFound(not_found(saga_id))
    return None if rows[0][0] is None else str(rows[0][0])


def give_verb(saga_id: str, verb: str, note: str, *, token: str = "") -> Steps[int]:
    """Write a control verb; the number of its row, where its outcome will stand.

    `given_by` there is who logged in at the database; with `token`, whose token it came with over HTTP, too.
    """
    checked_saga_id(saga_id)
    params = {"id": saga_id, "verb": verb, "note": checked_note(note, empty=verb not in NOTED)}
    if token:
        rows = yield Query(statements.GIVE_VERB, {**params, "token": token})
    else:
        rows = yield Query(statements.INSERT_VERB, params)
    if rows and rows[0][0] is not None:
        return int(rows[0][0])
    found = yield Query(statements.SELECT_STATUS, {"id": saga_id})
    if not found:
        raise SagaNotFound(not_found(saga_id))
    raise SagaEnded(f"saga {saga_id} has ended ({as_status(found[0][0])}): there is nothing to {verb}")


def destination(prefix: str) -> Steps[Destination]:
    """Where starts and messages go, seen from this database. The number of shards may be one that has grown since: a
    saga's shard is fixed at its start, and any that there is will do.
    """
    rows = yield Query(statements.HAS_SAGAS, lasting=True)
    if not rows[0][0]:
        return Destination(Topics(prefix).sagas, None)
    rows = yield Query(statements.INSTALLATION, lasting=True)
    if not rows:
        raise RequestError("this database has the tables of an orchestrator, but no installation: run `amends migrate`")
    return Destination(str(rows[0][1]), int(rows[0][0]))


def shard_of(saga_id: str, shards: int) -> int:
    """A saga's shard is fixed here, at its start, and stored."""
    return murmur2(saga_id.encode()) % shards


def traceparent() -> str | None:
    """W3C's header of the caller's current span; None where nobody has imported OpenTelemetry."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _row(
    kind: str,
    to: Destination,
    saga_id: str,
    type_name: str,
    payload: bytes,
    channel: str = "",
    row_id: str | None = None,
    shard: int | None = None,
) -> Row:
    headers = {"kind": kind, "saga_id": saga_id}
    if channel:
        headers["channel"] = channel
    if parent := traceparent():
        headers["traceparent"] = parent
    if shard is None and to.shards is not None:
        shard = shard_of(saga_id, to.shards)
    return Row(
        topic=to.topic, key=saga_id, type=type_name, payload=payload, headers=headers, partition=shard, id=row_id
    )


def _add(row: Row) -> Steps[None]:
    if len(row.payload) > limits.PAYLOAD_BYTES_MAX:
        raise PayloadError(f"{row.type}: {len(row.payload):,} bytes; the limit is {limits.PAYLOAD_BYTES_MAX:,}")
    added = yield Query(table.INSERT_ONE, table.insert_one_params(row))
    if added:
        return
    known = yield Query(topics.SELECT_PARTITIONS, {"topic": row.topic})
    raise table.why_refused(row, int(known[0][0]) if known else None)


def _refuse_id(saga_id: str, saga_type: str) -> Steps[None]:
    rows = yield Query(statements.SELECT_TYPE, {"id": saga_id})
    found = str(rows[0][0]) if rows else saga_type
    other = "with another input" if found == saga_type else f"of type {found}, not {saga_type}"
    raise SagaIdTaken(
        f"there is a saga {saga_id} already, {other}; nothing was started. Look with `amends show {saga_id}`, "
        "or choose another id"
    )


def not_found(saga_id: str) -> str:
    return (
        f"no saga has the id {saga_id} (yet: a start in another database arrives when its relay has sent it); "
        "`amends ls` lists those that are there"
    )
