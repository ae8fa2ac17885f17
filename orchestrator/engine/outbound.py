"""Decisions as outbox rows. The rows commit with the turn that decided them; the relay sends them."""

import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never
from uuid import NAMESPACE_URL, uuid5

from orchestrator import contracts, limits
from orchestrator.core.decisions import (
    AnswerUndo,
    Decision,
    Finish,
    Publish,
    SendCommand,
    SendMessage,
    SendUndo,
    SetStatus,
    SetValue,
    Settle,
    StartChild,
    StartSaga,
    StartStep,
    UndoChild,
    Wait,
)
from orchestrator.engine.journal import dumps
from orchestrator.engine.sagas import SagaRow
from orchestrator.engine.traceparents import operation_traceparent
from orchestrator.errors import PayloadError
from orchestrator.messaging import avro, control
from orchestrator.problems import Problem
from outbox_relay.rows import Row, murmur2


def nonce(secret: bytes, operation_key: str) -> str:
    """Proof that an answer belongs to a command of ours: nobody without the secret can make one up."""
    return hmac.digest(secret, operation_key.encode(), "sha256").hex()[:32]


class Outbound:
    """Makes rows. `topic` gives the full name of one of our topics; shards are partitions of `topic("sagas")`."""

    def __init__(self, topic: Callable[[str], str], shards: int, secret: bytes, now_us: Callable[[], int]) -> None:
        self._topic, self._shards, self._secret, self._now_us = topic, shards, secret, now_us
        self._sagas = topic("sagas")

    def shard_of(self, saga_id: str) -> int:
        """The shard of a new saga; of one that runs it is stored."""
        return murmur2(saga_id.encode()) % self._shards

    def genuine(self, operation_key: str, echoed: str | None) -> bool:
        """Whether an answer echoes the nonce of this operation."""
        return echoed is not None and hmac.compare_digest(nonce(self._secret, operation_key), echoed)

    def rows(self, saga: SagaRow, decision: Decision) -> list[Row]:
        """What leaves because of a decision; nothing for what stays in this process."""
        match decision:
            case SendCommand():
                return [self._command(saga, decision)]
            case SendUndo():
                return [self._undo(saga, decision)]
            case StartChild():
                return [self._child(saga, decision)]
            case UndoChild():
                return [self._undo_child(saga, decision)]
            case StartSaga():
                return [self._start(saga, decision)]
            case SendMessage():
                return [self._message(saga, decision)]
            case Publish():
                return [self._event(saga, decision)]
            case Settle():
                return [self._settled(saga, decision)]
            case AnswerUndo():
                return [self.undo_answer(saga, decision)]
            case StartStep() | SetValue() | SetStatus() | Wait() | Finish():
                return []
        assert_never(decision)

    def _headers(self, saga: SagaRow, seq: int, attempt: int, **more: str) -> dict[str, str]:
        key = saga.identity.key(seq)
        headers = {
            "saga_id": saga.id,
            "operation_key": key,
            "attempt": str(attempt),
            "reply_to": f"{self._sagas}/{saga.shard}",
            "nonce": nonce(self._secret, key),
            "traceparent": operation_traceparent(saga, seq),
        }
        return {**headers, **more}

    def _expires_at(self, seconds: float = limits.COMMAND_EXPIRES_S) -> str:
        at = datetime.fromtimestamp(self._now_us() / 1e6, UTC) + timedelta(seconds=seconds)
        return at.isoformat(timespec="milliseconds")

    def _command(self, saga: SagaRow, send: SendCommand) -> Row:
        headers = self._headers(saga, send.seq, send.attempt, kind="command", expires_at=self._expires_at())
        payload = avro.encode(_message_class(send.type), send.body)
        return Row(
            topic=self._topic(f"{send.service}.commands"),
            key=saga.id,
            type=send.type,
            payload=payload,
            headers=headers,
        )

    def _undo(self, saga: SagaRow, undo: SendUndo) -> Row:
        command = _message_class(undo.type)
        reply = None
        if undo.known == "done":
            reply = avro.encode(contracts.reply_type(command), undo.reply)
        body = control.Undo(
            command=avro.encode(command, undo.body),
            reply=reply,
            attempts=undo.reply_attempts,
            sent_at_us=undo.sent_at_us,
        )
        headers = self._headers(
            saga, undo.seq, undo.attempt, kind="undo", outcome=undo.known, expires_at=self._expires_at()
        )
        return Row(
            topic=self._topic(f"{undo.service}.commands"),
            key=saga.id,
            type=undo.type,
            payload=body.encode(),
            headers=headers,
        )

    def _settled(self, saga: SagaRow, settle: Settle) -> Row:
        keys = [saga.identity.key(seq) for seq in settle.seqs]
        return Row(
            topic=self._topic(f"{settle.service}.commands"),
            key=saga.id,
            type="Settled",
            payload=control.Settled(keys=keys).encode(),
            headers={"kind": "settled", "saga_id": saga.id},
        )

    def _child(self, saga: SagaRow, child: StartChild) -> Row:
        key = saga.identity.key(child.seq)
        start = control.Start(
            uid=str(uuid5(NAMESPACE_URL, f"amends:{key}")),
            type=child.type,
            version=child.version,
            input=dumps(child.input),
            parent_id=saga.id,
            parent_key=key,
            parent_reply_to=f"{self._sagas}/{saga.shard}",
        )
        return self._start_row(child.id, start, operation_traceparent(saga, child.seq))

    def _start(self, saga: SagaRow, decision: StartSaga) -> Row:
        start = control.Start(
            uid=str(uuid5(NAMESPACE_URL, f"amends:{saga.identity.key(decision.seq)}")),
            type=decision.type,
            version=decision.version,
            input=dumps(decision.input),
        )
        return self._start_row(decision.id, start, operation_traceparent(saga, decision.seq))

    def _start_row(self, saga_id: str, start: control.Start, traceparent: str) -> Row:
        return Row(
            topic=self._sagas,
            key=saga_id,
            type=start.type,
            payload=start.encode(),
            partition=self.shard_of(saga_id),
            headers={"kind": "start", "saga_id": saga_id, "traceparent": traceparent},
        )

    def start_again(self, saga: SagaRow) -> Row:
        """The start of a queued saga once more: Kafka lost it."""
        start = control.Start(
            uid=saga.uid,
            type=saga.type,
            version=saga.version,
            input=saga.input,
            parent_id=saga.parent_id,
            parent_key=saga.parent_key,
            parent_reply_to=saga.parent_reply_to,
        )
        row = self._start_row(saga.id, start, saga.traceparent or "")
        return Row(
            topic=row.topic, key=row.key, type=row.type, payload=row.payload, partition=saga.shard, headers=row.headers
        )

    def _undo_child(self, saga: SagaRow, undo: UndoChild) -> Row:
        headers = self._headers(saga, undo.seq, undo.attempt, kind="child_undo")
        headers["saga_id"] = undo.id
        return Row(
            topic=self._sagas,
            key=undo.id,
            type=undo.type,
            payload=b"",
            partition=self.shard_of(undo.id),
            headers=headers,
        )

    def child_ended(self, child: SagaRow, finish: Finish) -> Row:
        """A child's end, for its parent."""
        assert child.parent_key is not None
        done = finish.status == "completed"
        problem = None if done else _end_problem(child, finish)
        body = control.ChildEnded(
            outcome="succeeded" if done else "failed",
            result=dumps(finish.result) if done else None,
            problem=None if problem is None else control.ProblemRecord.of(problem),
        )
        return self._to_parent(child, child.parent_key, 1, "child_ended", body.outcome, body.encode())

    def undo_answer(self, child: SagaRow, answer: AnswerUndo) -> Row:
        """The answer to a parent's undo."""
        payload = b"" if answer.problem is None else control.ProblemRecord.of(answer.problem).encode()
        return self._to_parent(child, answer.key, answer.attempt, "undone", answer.outcome, payload)

    def _to_parent(
        self, child: SagaRow, key: str, attempt: int, kind: str, outcome: str, payload: bytes
    ) -> Row:
        topic, _, partition = (child.parent_reply_to or "").rpartition("/")
        return Row(
            topic=topic,
            key=child.parent_id or "",
            type=child.type,
            payload=payload,
            partition=int(partition),
            headers={
                "kind": kind,
                "saga_id": child.parent_id or "",
                "operation_key": key,
                "attempt": str(attempt),
                "outcome": outcome,
                "nonce": nonce(self._secret, key),
                "traceparent": child.traceparent or "",
            },
        )

    def _message(self, saga: SagaRow, send: SendMessage) -> Row:
        key = saga.identity.key(send.seq)
        return Row(
            topic=self._sagas,
            key=send.saga_id,
            type=send.type,
            payload=avro.encode(_message_class(send.type), send.body),
            partition=self.shard_of(send.saga_id),
            id=str(uuid5(NAMESPACE_URL, f"amends:{key}")),
            headers={
                "kind": "message",
                "saga_id": send.saga_id,
                "channel": send.channel,
                "traceparent": operation_traceparent(saga, send.seq),
            },
        )

    def _event(self, saga: SagaRow, publish: Publish) -> Row:
        key = saga.identity.key(publish.seq)
        return Row(
            topic=self._topic(publish.topic),
            key=publish.key,
            type=publish.type,
            payload=avro.encode(_message_class(publish.type), publish.body),
            id=str(uuid5(NAMESPACE_URL, f"amends:{key}")),
            headers={
                "kind": "event",
                "saga_id": saga.id,
                "traceparent": operation_traceparent(saga, publish.seq),
            },
        )


def _message_class(wire_name: str) -> Any:
    cls = contracts.message_named(wire_name)
    if cls is None:
        raise PayloadError(f"no message class named {wire_name!r} is imported in this process")
    return cls


def _end_problem(child: SagaRow, finish: Finish) -> Problem:
    """How a parent sees an end without a result: a Failure as itself, everything else as the end of a saga."""
    problem = finish.problem
    if problem is not None and problem.kind == "failure":
        return problem
    return Problem(
        kind="saga",
        type=problem.type if problem else finish.status,
        text=problem.text if problem else "",
        saga_id=child.id,
        status=finish.status,
        left_undone=finish.left_undone,
    )

