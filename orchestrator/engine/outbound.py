"""Decisions as outbox rows. The rows commit with the turn that decided them; the relay sends them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import assert_never
from uuid import NAMESPACE_URL, uuid5

from orchestrator import limits
from orchestrator.canonical import canonical_json
from orchestrator.core.decisions import (
    AnswerUndo,
    Decision,
    Finish,
    Publish,
    SendCommand,
    SendMessage,
    SendUndo,
    SetStatus,
    Settle,
    SettleChild,
    SetValue,
    StartChild,
    StartSaga,
    StartStep,
    UndoChild,
    Wait,
)
from orchestrator.engine.sagas import SagaRow
from orchestrator.engine.traceparents import operation_traceparent, undo_traceparent
from orchestrator.messaging import avro, control, outgoing
from orchestrator.messaging.nonce import is_genuine, nonce_of
from orchestrator.messaging.topics import Topics
from orchestrator.problems import Problem
from outbox_relay import table
from outbox_relay.rows import Row, murmur2

_EXPIRES_US = round(limits.COMMAND_EXPIRES_S * 1_000_000)


class Outbound:
    """Makes rows, each with its partition. Raises PayloadError or RowRefused for what can never be sent."""

    def __init__(
        self,
        topics: Topics,
        partitions: Callable[[str], int],
        shards: int,
        secret: bytes,
        now_us: Callable[[], int],
    ) -> None:
        self._topics, self._partitions, self._shards = topics, partitions, shards
        self._secret, self._now_us = secret, now_us
        self._second, self._second_text = 0, ""

    def shard_of(self, saga_id: str) -> int:
        """The shard of a new saga; of one that runs it is stored."""
        return murmur2(saga_id.encode()) % self._shards

    def genuine(self, operation_key: str, echoed: str | None) -> bool:
        """Whether an answer echoes the nonce of this operation."""
        return is_genuine(self._secret, operation_key, echoed)

    def why_unanswerable(self, child: SagaRow) -> str | None:
        """A child whose end could never be told: nobody vouches for what its start says of its parent."""
        if child.parent_reply_to is None:
            return None
        topic, _, partition = child.parent_reply_to.rpartition("/")
        if topic == self._topics.sagas and partition.isdecimal() and int(partition) < self._shards:
            return None
        return f"its parent's reply_to {child.parent_reply_to!r} is no shard of {self._topics.sagas}"

    def rows(self, saga: SagaRow, decision: Decision) -> list[Row]:
        """What leaves because of a decision; nothing for what stays in this process."""
        row = self._row(saga, decision)
        if row is None:
            return []
        table.check(row)
        return [row]

    def _row(self, saga: SagaRow, decision: Decision) -> Row | None:
        match decision:
            case SendCommand():
                request = self._request(saga, decision)
                return outgoing.command_row(request, decision.body)
            case SendUndo():
                return self._undo(saga, decision)
            case StartChild() | StartSaga():
                return self._start(saga, decision)
            case UndoChild():
                return self._undo_child(saga, decision)
            case SettleChild():
                return self._settle_child(saga, decision)
            case SendMessage():
                return self._message(saga, decision)
            case Publish():
                return self._event(saga, decision)
            case Settle():
                keys = [saga.key(seq) for seq in decision.seqs]
                topic = self._topics.commands(decision.service)
                place = self._place(topic, saga.id)
                return outgoing.settled_row(topic=topic, partition=place, saga_id=saga.id, keys=keys)
            case AnswerUndo():
                to = self._parent(saga, decision.key, decision.attempt)
                return outgoing.undone_row(to, outcome=decision.outcome, problem=decision.problem)
            case StartStep() | SetValue() | SetStatus() | Wait() | Finish():
                return None
        assert_never(decision)

    def _place(self, topic: str, key: str) -> int:
        return murmur2(key.encode()) % self._partitions(topic)

    def _request(self, saga: SagaRow, send: SendCommand | SendUndo) -> outgoing.Request:
        key, topic = saga.key(send.seq), self._topics.commands(send.service)
        of_request = undo_traceparent if isinstance(send, SendUndo) else operation_traceparent
        return outgoing.Request(
            topic=topic,
            partition=self._place(topic, saga.id),
            saga_id=saga.id,
            operation_key=key,
            attempt=send.attempt,
            type=send.type,
            reply_to=outgoing.reply_to(self._topics.sagas, saga.shard),
            nonce=nonce_of(self._secret, key),
            expires_at=self._expires_at(),
            traceparent=of_request(saga, send.seq),
        )

    def _expires_at(self) -> str:
        """ISO 8601 with milliseconds; its seconds are formatted once for all commands of a second."""
        second, rest_us = divmod(self._now_us() + _EXPIRES_US, 1_000_000)
        if second != self._second:
            self._second, self._second_text = second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._second_text}.{rest_us // 1_000:03d}+00:00"

    def _undo(self, saga: SagaRow, undo: SendUndo) -> Row:
        return outgoing.undo_row(
            self._request(saga, undo),
            body=undo.body,
            known=undo.known,
            reply=undo.reply,
            attempts=undo.reply_attempts,
            sent_at_us=undo.sent_at_us,
        )

    def _start(self, saga: SagaRow, decision: StartChild | StartSaga) -> Row:
        key = saga.key(decision.seq)
        child = isinstance(decision, StartChild)
        start = control.Start(
            uid=str(uuid5(NAMESPACE_URL, f"amends:{key}")),
            type=decision.type,
            version=decision.version,
            input=canonical_json(decision.input),
            parent_id=saga.id if child else None,
            parent_key=key if child else None,
            parent_reply_to=outgoing.reply_to(self._topics.sagas, saga.shard) if child else None,
        )
        return outgoing.start_row(
            topic=self._topics.sagas,
            shard=self.shard_of(decision.id),
            saga_id=decision.id,
            start=start,
            traceparent=operation_traceparent(saga, decision.seq),
        )

    def start_again(self, saga: SagaRow) -> Row:
        """The start of a queued saga once more: Kafka lost it."""
        assert saga.input is not None, f"{saga.id} has begun"
        start = control.Start(
            uid=saga.uid,
            type=saga.type,
            version=saga.version,
            input=saga.input,
            parent_id=saga.parent_id,
            parent_key=saga.parent_key,
            parent_reply_to=saga.parent_reply_to,
        )
        return outgoing.start_row(
            topic=self._topics.sagas, shard=saga.shard, saga_id=saga.id, start=start, traceparent=saga.traceparent
        )

    def _undo_child(self, saga: SagaRow, undo: UndoChild) -> Row:
        key = saga.key(undo.seq)
        return outgoing.child_undo_row(
            topic=self._topics.sagas,
            shard=self.shard_of(undo.id),
            child_id=undo.id,
            operation_key=key,
            attempt=undo.attempt,
            reply_to=outgoing.reply_to(self._topics.sagas, saga.shard),
            nonce=nonce_of(self._secret, key),
            traceparent=undo_traceparent(saga, undo.seq),
        )

    def _settle_child(self, saga: SagaRow, settle: SettleChild) -> Row:
        key = saga.key(settle.seq)
        return outgoing.child_settle_row(
            topic=self._topics.sagas,
            shard=self.shard_of(settle.id),
            child_id=settle.id,
            operation_key=key,
            nonce=nonce_of(self._secret, key),
            traceparent=saga.traceparent,
        )

    def child_ended(self, child: SagaRow, finish: Finish) -> Row:
        """A child's end, for its parent."""
        assert child.parent_key is not None
        done = finish.status == "completed"
        ended = control.ChildEnded(
            outcome="succeeded" if done else "failed",
            result=finish.result if done else None,
            problem=None if done else _end_problem(child, finish),
        )
        return outgoing.child_ended_row(self._parent(child, child.parent_key, 1), ended=ended)

    def _parent(self, child: SagaRow, key: str, attempt: int) -> outgoing.ReturnAddress:
        return outgoing.ReturnAddress(
            reply_to=child.parent_reply_to or "",
            saga_id=child.parent_id or "",
            operation_key=key,
            attempt=attempt,
            nonce=nonce_of(self._secret, key),
            traceparent=child.traceparent,
        )

    def _message(self, saga: SagaRow, send: SendMessage) -> Row:
        return outgoing.message_row(
            topic=self._topics.sagas,
            shard=self.shard_of(send.saga_id),
            saga_id=send.saga_id,
            wire_name=send.type,
            body=send.body,
            channel=send.channel,
            row_id=str(uuid5(NAMESPACE_URL, f"amends:{saga.key(send.seq)}")),
            traceparent=operation_traceparent(saga, send.seq),
        )

    def _event(self, saga: SagaRow, publish: Publish) -> Row:
        topic = self._topics.events(publish.topic)
        return Row(
            topic=topic,
            partition=self._place(topic, publish.key),
            key=publish.key,
            type=publish.type,
            payload=avro.encode(outgoing.class_named(publish.type), publish.body),
            id=str(uuid5(NAMESPACE_URL, f"amends:{saga.key(publish.seq)}")),
            headers={
                "kind": "event",
                "saga_id": saga.id,
                "traceparent": operation_traceparent(saga, publish.seq),
            },
        )


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
