"""Journals written by hand, as the runtime writes them: one turn a call, `s` seconds after the start."""

from typing import Any

from orchestrator.tracing.spans import SagaFacts

START_US = 1_700_000_000_000_000
Turn = list[dict[str, Any]]

FACTS = SagaFacts("order-7", "5f0f0cde-0000-4000-8000-000000000007", "checkout", 1, None, "shop.")
DECLINED = {"kind": "failure", "type": "CardDeclined", "text": "CardDeclined(reason='limit')", "effect": "none"}
BUSY = {"kind": "transient", "type": "Transient", "text": "not now", "effect": "none"}
LOST = {"kind": "error", "type": "ReadTimeout", "text": "no answer", "effect": "unknown"}


def us(s: float) -> int:
    return START_US + round(s * 1_000_000)


def turn(s: float, entry: str, *decisions: dict[str, Any], **fields: Any) -> Turn:
    return [{"in": entry, "at": us(s), **fields}, *decisions]


def started(s: float, *decisions: dict[str, Any]) -> Turn:
    return turn(s, "started", *decisions, input={})


def replied(s: float, seq: int, *decisions: dict[str, Any], attempt: int = 1, **fields: Any) -> Turn:
    return turn(s, "replied", *decisions, seq=seq, **_unusual(attempt), **fields)


def undone(s: float, seq: int, *decisions: dict[str, Any], attempt: int = 1, **fields: Any) -> Turn:
    fields.setdefault("outcome", "undone")
    return turn(s, "undo_replied", *decisions, seq=seq, **_unusual(attempt), **fields)


def _unusual(attempt: int) -> dict[str, Any]:
    return {"attempt": attempt} if attempt > 1 else {}


def timer(s: float, *decisions: dict[str, Any]) -> Turn:
    return turn(s, "timer", *decisions, timer=1)


def call(seq: int, name: str, attempt: int = 1, service: str = "payments") -> dict[str, Any]:
    if attempt > 1:
        return {"op": "call", "seq": seq, "attempt": attempt, "name": name}
    return {"op": "call", "seq": seq, "name": name, "service": service, "body": {}}


def undo(seq: int, name: str, known: str = "done", attempt: int = 1) -> dict[str, Any]:
    return {"op": "undo", "undo_of": seq, "attempt": attempt, "name": name, "known": known}


def wait(seq: int, what: str, name: str = "") -> dict[str, Any]:
    return {"op": what, "seq": seq, "name": name}


def status(name: str, reason: str = "") -> dict[str, Any]:
    return {"op": "status", "name": name, "reason": reason}


def finish(
    name: str = "completed", problem: dict[str, Any] | None = None, left: tuple[str, ...] = ()
) -> dict[str, Any]:
    out: dict[str, Any] = {"op": "finish", "name": name}
    if problem is not None:
        out["problem"] = {"type": problem["type"], "text": problem["text"]}
    if left:
        out["left_undone"] = list(left)
    return out
