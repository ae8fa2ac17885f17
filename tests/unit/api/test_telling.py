"""How the API tells of attempts and of the way back."""

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.api.telling import attempts_of, outline_of
from orchestrator.client.answers import SagaRow, Status
from orchestrator.client.outlines import Outlined
from orchestrator.story import read_story

S = 1_000_000
AT = datetime(2026, 1, 1, tzinfo=UTC)
LOST = {"kind": "error", "type": "ReadTimeout", "text": "gateway", "effect": "unknown"}
BUSY = {"kind": "error", "type": "GatewayBusy", "text": "429", "effect": "none"}
SOLD_OUT = {"kind": "failure", "type": "SoldOut", "text": "SoldOut(sku='tea')", "effect": "none"}

Body = list[dict[str, Any]]


def do(seq: int, attempt: int = 1, op: str = "call") -> dict[str, Any]:
    return {"op": op, "seq": seq, "name": "Charge", "service": "payments", "attempt": attempt, "body": {}}


def undo(attempt: int = 1) -> dict[str, Any]:
    return {"op": "undo", "undo_of": 0, "attempt": attempt, "name": "Charge", "known": "done"}


def came(kind: str, outcome: str, *decisions: dict[str, Any], attempt: int = 1, **more: Any) -> Body:
    return [{"in": kind, "at": 2 * S, "seq": 0, "attempt": attempt, "outcome": outcome, **more}, *decisions]


def started(decision: dict[str, Any]) -> Body:
    return [{"in": "started", "at": S, "input": {}}, decision]


def told(*bodies: Body) -> list[tuple[int, bool, bool]]:
    """Of each attempt its number, whether it is of an undo, and whether its effect was unknown."""
    attempts = attempts_of(read_story(bodies), ())
    return [(one.number, one.undo_of is not None, one.was_unknown) for one in attempts]


def test_an_answer_that_was_lost_is_told_from_a_definite_no() -> None:
    lost = came("replied", "retry", do(0, 2), problem=LOST)
    busy = came("replied", "retry", do(0, 3), attempt=2, problem=BUSY)
    assert told(started(do(0)), lost, busy) == [(1, False, True), (2, False, False), (3, False, False)]


def test_an_attempt_without_an_answer_is_unknown_once_there_is_another_one() -> None:
    again: Body = [{"in": "timer", "at": 9 * S}, do(0, 2)]
    assert told(started(do(0))) == [(1, False, False)]
    assert told(started(do(0)), again) == [(1, False, True), (2, False, False)]
    answered = came("replied", "succeeded", attempt=2)
    assert told(started(do(0)), again, answered) == [(1, False, True), (2, False, False)]


def test_an_attempt_without_an_answer_is_unknown_once_nobody_waits() -> None:
    ended: Body = [{"in": "timer", "at": 9 * S}, {"op": "finish", "name": "failed"}]
    assert told(started(do(0)), ended) == [(1, False, True)]


def test_a_transaction_is_never_in_doubt() -> None:
    lost = came("step_ended", "failed", do(0, 2, "transaction"), problem=LOST)
    assert told(started(do(0, op="transaction")), lost) == [(1, False, False), (2, False, False)]


def test_an_attempt_of_an_undo_can_be_lost_too() -> None:
    compensating = {"op": "status", "name": "compensating", "reason": ""}
    lost = came("undo_replied", "retry", undo(2), problem=LOST)
    done = came("undo_replied", "undone", attempt=2)
    bodies = [started(do(0)), came("replied", "succeeded", compensating, undo()), lost, done]
    assert told(*bodies) == [(1, False, False), (1, True, True), (2, True, False)]


@pytest.mark.parametrize(
    ("status", "ended_at", "because"),
    [("compensating", None, "SoldOut(sku='tea')"), ("stuck", None, "SoldOut(sku='tea')"), ("failed", AT, None)],
)
def test_the_way_back_has_a_reason_while_it_goes_on(status: Status, ended_at: datetime | None, because: str) -> None:
    turns_over = {"op": "status", "name": "compensating", "reason": "SoldOut: SoldOut(sku='tea')"}
    refused = came("undo_replied", "failed", {"op": "status", "name": "stuck", "reason": "no"}, problem=BUSY)
    on_again: Body = [{"in": "verb", "at": 3 * S, "verb": "retry"}, {"op": "status", "name": "compensating"}, undo(2)]
    bodies = [started(do(0)), came("replied", "succeeded", turns_over, undo()), refused, on_again]

    outline = outline_of(
        Outlined(1, SagaRow("s-1", "Shop", 1, status, 0, AT, ended_at, None), None, read_story(bodies), None, ())
    )

    assert outline.undone_because == because


def test_a_reason_that_does_not_begin_with_its_type_is_told_whole() -> None:
    turns_over = {"op": "status", "name": "compensating", "reason": "ReadTimeout: gateway: no answer"}
    story = read_story([started(do(0)), came("replied", "succeeded", turns_over, undo())])
    assert story.undone_because == "ReadTimeout: gateway: no answer"
