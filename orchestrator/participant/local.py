"""Handlers that only use their database: run in the inbox's own transaction, so what they did and what the inbox says
about it can't differ.

There are no savepoints: a batch is one transaction, and an exception rolls all of it back. `batches` then runs the
culprit alone and hands its exception in as the verdict, so a Failure's own writes are gone as well.
"""

from dataclasses import replace
from typing import Any

from orchestrator import limits
from orchestrator.contracts import Command, reply_adapter, reply_type
from orchestrator.errors import Failure, Transient
from orchestrator.log_fields import Handled, handling
from orchestrator.messaging import avro
from orchestrator.messaging.control import ProblemRecord
from orchestrator.participant import answers, spans
from orchestrator.participant.handlers import AnyHandler, LocalHandler
from orchestrator.participant.inbox import Entry
from orchestrator.participant.inbox_states import Event
from orchestrator.participant.requests import CommandRequest, parsed_reply
from orchestrator.participant.unit import Unit
from orchestrator.problems import Problem, problem_of

LOCAL_SECONDS_MAX = 30.0  # a handler that takes longer holds up the batch, its locks and the vacuum


async def run_command(
    unit: Unit,
    entry: Entry,
    request: CommandRequest,
    handler: LocalHandler[Any, Any, Any],
    verdict: Exception | None,
) -> None:
    """Run the handler and store its answer; or store the verdict that it brought on itself."""
    if verdict is not None:
        store_verdict(unit, entry, verdict)
        return
    reply, traceparent = await answer(unit, request, handler)
    no_problem = {"problem": None, "problem_type": None, "problem_text": None}
    after, _ = unit.decide(entry, "succeeded", reply=reply, recorded=True, **no_problem)
    unit.put(after)
    unit.send(answers.succeeded(after, request.attempt, traceparent=traceparent))


async def answer(unit: Unit, request: CommandRequest, handler: LocalHandler[Any, Any, Any]) -> tuple[bytes, str | None]:
    """Run the handler; the bytes of its reply, and the place in the trace that the answer comes from."""

    def attributes() -> spans.Attributes:
        at = request.at
        more: spans.Attributes = {"amends.operation_key": request.key}
        return spans.process_attributes(at.topic, unit.service.name, at.id, at.key, more=more)

    handled = Handled(request.key, request.attempt, request.traceparent, request.saga_id, request.type)
    with handling(handled), spans.handling(f"process {request.type}", request.traceparent, attributes):
        value, _ = await unit.run(
            handler.function,
            request.command,
            key=request.key,
            attempt=request.attempt,
            saga_id=request.saga_id,
            expires_at=request.expires_at,
            seconds_max=LOCAL_SECONDS_MAX,
        )
        traceparent = spans.traceparent()
    return encoded_reply(handler, value), traceparent


def store_verdict(unit: Unit, entry: Entry, error: Exception) -> None:
    """A local handler that raised has had no effect: its writes are rolled back."""
    problem = problem_of(error)
    event: Event = "postponed"
    if isinstance(error, Failure):
        event = "declined"
    elif not isinstance(error, Transient):
        entry = replace(entry, errors=entry.errors + 1)
        problem = replace(problem, effect="none")
        if entry.errors >= limits.LOCAL_TRANSIENT_ATTEMPTS_MAX:
            event = "declined"
    store_problem(unit, entry, event, problem)


def store_problem(unit: Unit, entry: Entry, event: Event, problem: Problem) -> None:
    """Store why the command did not succeed, and answer it. A pause that burns no attempt leaves its number free."""
    asked = entry.attempt
    after, _ = unit.decide(entry, event)
    problem = replace(problem, effect="unknown" if after.row.in_doubt else "none")
    burnt = asked if problem.retry_after_s is None or event != "postponed" else asked - 1
    after = with_problem(replace(after, attempt=burnt), problem)
    unit.put(after)
    outcome: answers.ReplyOutcome = "failed" if after.state == "failed" else "retry"
    unit.send(answers.unsuccessful(after, asked, outcome, problem))


def with_problem(entry: Entry, problem: Problem) -> Entry:
    """The row with the problem, for machines and for people."""
    text = f"{problem.type}: {problem.text}"[: limits.ERROR_TEXT_CHARS_MAX]
    return replace(
        entry,
        problem=ProblemRecord(problem=problem).encode(),
        problem_type=problem.type,
        problem_text=text,
    )


async def run_undo(
    unit: Unit,
    entry: Entry,
    command: Command[Any],
    handler: LocalHandler[Any, Any, Any],
    verdict: Exception | None,
    traceparent: str | None,
) -> None:
    """Take the command back in this transaction. `entry` is `undoing` already, in memory only."""
    assert handler.undo_function is not None
    if entry.reply is None:
        text = (
            f"inbox {entry.key}: nobody knows whether {entry.type} happened: its row is past the horizon of "
            f"{limits.INBOX_HORIZON_S // 86_400} days. Look at this service's own tables, then type `amends skip` or "
            f"`amends retry`."
        )
        unit.send(answers.not_undone(entry, "failed", Problem(kind="error", type="InboxForgot", text=text)))
        return
    if verdict is not None:
        outcome: answers.UndoneOutcome = "failed" if isinstance(verdict, Failure) else "retry"
        unit.send(answers.not_undone(entry, outcome, problem_of(verdict)))
        return

    def attributes() -> spans.Attributes:
        more: spans.Attributes = {"amends.operation_key": entry.key}
        return spans.process_attributes(unit.service.command_topic, unit.service.name, key=entry.saga_id, more=more)

    handled = Handled(f"{entry.key}:undo", entry.undo_attempt, traceparent, entry.saga_id, entry.type)
    with (
        handling(handled),
        spans.handling(f"undo {entry.type}", traceparent, attributes, undone_of=entry.traceparent),
    ):
        await unit.run(
            handler.undo_function,
            command,
            parsed_reply(handler, entry.reply),
            key=f"{entry.key}:undo",
            attempt=entry.undo_attempt,
            saga_id=entry.saga_id,
            seconds_max=LOCAL_SECONDS_MAX,
        )
        after, _ = unit.decide(entry, "undo_ended")
        after = unit.put(replace(after, undo_recorded=True))
        unit.send(answers.undone(after, traceparent=spans.traceparent()))


def encoded_reply(handler: AnyHandler, value: Any) -> bytes:
    """The bytes of what a handler returned. Raises ValidationError or PayloadError if it is no reply of its command."""
    adapter = reply_adapter(handler.command)
    checked = adapter.validate_python(value)
    return avro.encode(reply_type(handler.command), adapter.dump_python(checked, mode="json"))
