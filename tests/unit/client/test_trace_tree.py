"""The tree of a compensated checkout, drawn from rows alone: as a person would read it."""

from datetime import UTC, datetime
from typing import Any

from orchestrator.client.answers import JournalRow, Record, SagaRow, Status, Takeover
from orchestrator.trace_tree import drawn, tree_of

S = 1_000_000
AT = datetime(2026, 1, 1, tzinfo=UTC)
DECLINED = {"kind": "failure", "type": "CardDeclined", "text": "CardDeclined(reason='limit')", "effect": "none"}
LOST = {"kind": "error", "type": "ReadTimeout", "text": "gateway", "effect": "unknown"}


def record(status: Status, *bodies: list[dict[str, Any]], **more: Any) -> Record:
    saga = SagaRow("order-7", "checkout", 1, status, 0, AT, None, more.pop("error", None))
    rows = tuple(JournalRow(pos, None, body) for pos, body in enumerate(bodies))
    return Record(saga, "uid", None, {}, None, None, (), None, {}, rows, **more)


def lines(found: Record, now_s: float = 100) -> list[str]:
    return list(drawn(tree_of(found, now_us=int(now_s * S))))


def test_a_compensated_checkout() -> None:
    found = record(
        "failed",
        [
            {"in": "started", "at": 10 * S, "input": {}},
            {"op": "set", "seq": 0, "key": "status", "value": "reserving"},
            {"op": "call", "seq": 1, "name": "ReserveStock", "service": "stock", "body": {}},
        ],
        [
            {"in": "replied", "at": int(10.5 * S), "seq": 1, "attempt": 1, "outcome": "succeeded"},
            {"op": "call", "seq": 2, "name": "ChargeCard", "service": "payments", "body": {}},
        ],
        [
            {"in": "replied", "at": 12 * S, "seq": 2, "attempt": 1, "outcome": "retry", "problem": LOST},
            {"op": "call", "seq": 2, "attempt": 2, "name": "ChargeCard"},
        ],
        [
            {"in": "replied", "at": 13 * S, "seq": 2, "attempt": 2, "outcome": "failed", "problem": DECLINED},
            {"op": "status", "name": "compensating", "reason": "CardDeclined"},
            {"op": "undo", "undo_of": 1, "attempt": 1, "name": "ReserveStock", "known": "done"},
        ],
        [
            {"in": "undo_replied", "at": int(13.25 * S), "seq": 1, "attempt": 1, "outcome": "undone"},
            {"op": "finish", "name": "failed", "problem": {"type": "CardDeclined", "text": "limit"}},
        ],
        error="CardDeclined(reason='limit')",
        takeovers=(Takeover(11 * S, 4, "host-2"),),
    )
    assert lines(found) == [
        "checkout order-7  failed: CardDeclined(reason='limit')  3.250s",
        "├─ +0.000s #0 set status",
        "├─ +0.000s #1 call ReserveStock -> stock  succeeded, taken back  0.500s",
        "├─ +0.500s #2 call ChargeCard -> payments  failed: CardDeclined(reason='limit')  2.500s",
        "│  ├─ +0.500s attempt 1  retry: ReadTimeout: gateway  1.500s",
        "│  └─ +2.000s attempt 2  failed: CardDeclined(reason='limit')  1.000s",
        "├─ +1.000s taken over  by host-2 (epoch 4)",
        "├─ +3.000s undo of #1 call ReserveStock  undone  0.250s",
        "├─ +3.000s status  compensating: CardDeclined",
        "└─ +3.250s end  failed: CardDeclined: limit",
    ]


def test_what_is_open_ends_now() -> None:
    call = {"op": "call", "seq": 0, "name": "Greet", "service": "greeter", "body": {}}
    found = record("running", [{"in": "started", "at": 10 * S, "input": {}}, call])
    assert lines(found, now_s=15) == ["checkout order-7  running  5.000s", "└─ +0.000s #0 call Greet -> greeter  open  5.000s"]


def test_a_child_is_drawn_inside_its_operation() -> None:
    child = record("completed", [{"in": "started", "at": 11 * S, "input": {}}, {"op": "finish", "name": "completed"}])
    parent = record(
        "running",
        [{"in": "started", "at": 10 * S, "input": {}}, {"op": "child", "seq": 0, "name": "checkout", "id": "order-7"}],
        children=(child,),
    )
    assert lines(parent, now_s=15)[1:] == [
        "└─ +0.000s #0 child checkout order-7  open  5.000s",
        "   └─ +1.000s checkout order-7  completed  0.000s",
        "      └─ +1.000s end  completed",
    ]


def test_a_saga_without_a_turn_is_one_line() -> None:
    assert lines(record("queued")) == ["checkout order-7  queued  0.000s"]
