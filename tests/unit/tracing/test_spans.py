"""What a journal becomes: hand-written ones, each with one thing to say."""

from orchestrator.tracing import ids
from orchestrator.tracing.spans import SagaFacts, Span, Takeover, spans_of
from tests.unit.tracing.journals import (
    BUSY,
    DECLINED,
    FACTS,
    LOST,
    Turn,
    call,
    finish,
    replied,
    started,
    status,
    timer,
    turn,
    undo,
    undone,
    us,
    wait,
)


def named(bodies: list[Turn], facts: SagaFacts = FACTS, takeovers: list[Takeover] | None = None) -> dict[str, Span]:
    """Spans by name, each of which appears once."""
    spans = list(spans_of(facts, bodies, takeovers or ()))
    assert len({span.name for span in spans}) == len(spans)
    assert {span.trace_id for span in spans} == {ids.trace_id(facts.uid, facts.traceparent)}
    return {span.name: span for span in spans}


def test_success() -> None:
    spans = named([started(0, call(0, "ChargeCard")), replied(2, 0, finish())])
    charge, root = spans["call ChargeCard"], spans["saga checkout"]
    assert (root.begun_us, root.ended_us, root.error, root.parent_id) == (us(0), us(2), None, None)
    assert (charge.begun_us, charge.ended_us, charge.error, charge.kind) == (us(0), us(2), None, "producer")
    assert charge.parent_id == root.span_id
    assert [event.name for event in charge.events] == ["attempt", "attempt ended"]
    assert charge.attributes == {
        "amends.saga_id": "order-7",
        "amends.saga_type": "checkout",
        "amends.saga_version": 1,
        "amends.operation_key": f"{FACTS.uid}:0:0",
        "amends.operation_kind": "call",
        "amends.attempts": 1,
        "amends.outcome": "succeeded",
        "messaging.system": "kafka",
        "messaging.operation.type": "send",
        "messaging.operation.name": "send",
        "messaging.destination.name": "shop.payments.commands",
        "messaging.kafka.message.key": "order-7",
        "messaging.message.conversation_id": f"{FACTS.uid}:0:0",
    }


def test_a_saga_stays_in_the_trace_that_started_it() -> None:
    facts = SagaFacts("a", "uid", "checkout", 1, f"00-{'ab' * 16}-{'cd' * 8}-01")
    root = named([started(0, finish())], facts)["saga checkout"]
    assert (root.trace_id, root.parent_id, root.parent_is_remote) == ("ab" * 16, "cd" * 8, True)


def test_attempts_are_events_and_the_last_one_tells_how_it_ended() -> None:
    spans = named(
        [
            started(0, call(0, "ChargeCard")),
            replied(1, 0, outcome="retry", problem=BUSY),
            timer(2, call(0, "ChargeCard", attempt=2)),
            replied(
                3, 0, status("compensating"), finish("failed", DECLINED), attempt=2, outcome="failed", problem=DECLINED
            ),
        ]
    )
    charge = spans["call ChargeCard"]
    assert [(e.name, e.at_us, e.attributes["amends.attempt"]) for e in charge.events] == [
        ("attempt", us(0), 1),
        ("attempt ended", us(1), 1),
        ("attempt", us(2), 2),
        ("attempt ended", us(3), 2),
    ]
    assert (charge.attributes["amends.attempts"], charge.attributes["error.type"]) == (2, "CardDeclined")
    assert charge.error == spans["saga checkout"].error == DECLINED["text"]


def test_a_definite_no_after_an_attempt_in_doubt_is_unknown() -> None:
    spans = named(
        [
            started(0, call(0, "ChargeCard")),
            replied(1, 0, outcome="retry", problem=LOST),
            timer(2, call(0, "ChargeCard", attempt=2)),
            replied(3, 0, undo(0, "ChargeCard", known="unknown"), attempt=2, outcome="failed", problem=DECLINED),
            undone(4, 0, finish("failed", DECLINED)),
        ]
    )
    assert spans["call ChargeCard"].attributes["amends.outcome"] == "unknown"


def test_a_timeout_is_told_by_what_follows() -> None:
    spans = named(
        [
            started(0, call(0, "ChargeCard")),
            timer(30, status("compensating"), undo(0, "ChargeCard", known="unknown")),
            replied(31, 0),
            undone(32, 0, finish("failed", LOST)),
        ]
    )
    charge, back = spans["call ChargeCard"], spans["undo ChargeCard"]
    assert (charge.ended_us, charge.attributes["error.type"], charge.attributes["amends.outcome"]) == (
        us(30),
        "TimedOut",
        "unknown",
    )
    assert (back.begun_us, back.ended_us, back.attributes["amends.undo.known"]) == (us(30), us(32), "unknown")
    assert ("late success", us(31)) in [(event.name, event.at_us) for event in back.events]


def test_a_caught_timeout_without_an_undo_ends_the_only_thing_that_was_open() -> None:
    spans = named([started(0, call(0, "Ask")), timer(5, call(1, "AskElse")), replied(6, 1, finish())])
    assert (spans["call Ask"].ended_us, spans["call Ask"].attributes["amends.outcome"]) == (us(5), "unknown")


def test_with_two_things_open_a_timer_accuses_neither() -> None:
    spans = named(
        [
            started(0, call(0, "Ask"), call(1, "AskElse")),
            timer(5, call(2, "Third")),
            replied(6, 2),
            replied(9, 1, finish()),
        ]
    )
    # Ask was the one; until the end nobody could know.
    assert (spans["call Ask"].ended_us, spans["call Ask"].attributes["amends.outcome"]) == (us(9), "cancelled")
    assert spans["call AskElse"].attributes["amends.outcome"] == "succeeded"


def test_undos_are_linked_to_what_they_undo_newest_first() -> None:
    spans = named(
        [
            started(0, call(0, "ReserveStock", service="stock")),
            replied(1, 0, call(1, "ChargeCard")),
            replied(2, 1, call(2, "Ship", service="shipping")),
            replied(3, 2, status("compensating", "Refused"), undo(1, "ChargeCard"), outcome="failed", problem=DECLINED),
            undone(4, 1, attempt=1, outcome="retry", problem=BUSY),
            timer(5, undo(1, "ChargeCard", attempt=2)),
            undone(6, 1, undo(0, "ReserveStock"), attempt=2),
            undone(7, 0, finish("failed", DECLINED)),
        ]
    )
    refund, release = spans["undo ChargeCard"], spans["undo ReserveStock"]
    assert refund.links == (spans["call ChargeCard"].span_id,)
    assert release.links == (spans["call ReserveStock"].span_id,)
    assert (refund.begun_us, refund.ended_us, refund.attributes["amends.outcome"]) == (us(3), us(6), "undone")
    assert len([event for event in refund.events if event.name == "attempt"]) == 2
    assert [event.attributes["amends.text"] for event in spans["saga checkout"].events] == ["compensating: Refused"]
    assert spans["call ReserveStock"].error is None


def test_a_step_and_its_undo_with_a_seq_of_its_own() -> None:
    step = {"op": "step", "seq": 0, "name": "grant_role"}
    back = {"op": "step", "seq": 1, "name": "revoke_role", "undo_of": 0}
    again = {**back, "attempt": 2}
    spans = named(
        [
            started(0, step),
            turn(1, "step_ended", status("compensating"), back, seq=0),
            turn(2, "step_ended", seq=1, outcome="raised", problem=LOST),
            timer(3, again),
            turn(4, "step_ended", finish("cancelled"), seq=1, attempt=2),
        ]
    )
    assert set(spans) == {"step grant_role", "undo grant_role", "saga checkout"}
    assert spans["undo grant_role"].links == (spans["step grant_role"].span_id,)
    assert (spans["undo grant_role"].begun_us, spans["undo grant_role"].ended_us) == (us(1), us(4))
    assert spans["saga checkout"].error is None


def test_a_step_that_raised_may_be_tried_again() -> None:
    step = {"op": "step", "seq": 0, "name": "render"}
    spans = named(
        [
            started(0, step),
            turn(1, "step_ended", seq=0, outcome="raised", problem=LOST),
            timer(2, {**step, "attempt": 2}),
            turn(3, "step_ended", finish(), seq=0, attempt=2),
        ]
    )
    assert (spans["step render"].ended_us, spans["step render"].error) == (us(3), None)


def test_a_child_hangs_below_its_operation() -> None:
    child = {"op": "child", "seq": 0, "name": "dispatch", "id": "dispatch-7"}
    bodies = [
        started(0, child),
        replied(5, 0, status("compensating"), {"op": "undo_child", "undo_of": 0, "attempt": 1, "id": "dispatch-7"}),
        undone(8, 0, finish("failed", DECLINED)),
    ]
    spans = named(bodies)
    assert spans["child dispatch"].attributes["amends.started_id"] == "dispatch-7"
    assert spans["child dispatch"].attributes["messaging.destination.name"] == "shop.sagas"
    of_child = SagaFacts("dispatch-7", "child-uid", "dispatch", 1, ids.header(FACTS.uid, None, "0"))
    inner = named(
        [
            started(1, call(0, "Ship")),
            replied(4, 0, finish()),
            turn(6, "undo_requested", status("compensating"), undo(0, "Ship"), key=f"{FACTS.uid}:0:0", attempt=1),
            undone(7, 0, finish("cancelled"), {"op": "answer_undo", "key": f"{FACTS.uid}:0:0", "outcome": "undone"}),
        ],
        of_child,
    )
    root = inner["saga dispatch"]
    assert (root.trace_id, root.parent_id) == (spans["child dispatch"].trace_id, spans["child dispatch"].span_id)
    assert root.ended_us == us(4)  # The first end was exported; being taken back is a span of its own.
    assert inner["take back dispatch"].links == (root.span_id,)
    assert (inner["take back dispatch"].begun_us, inner["take back dispatch"].ended_us) == (us(6), us(7))
    assert inner["undo Ship"].ended_us == us(7)


def test_receives_get_their_messages_as_the_mailbox_hands_them_out() -> None:
    spans = named(
        [
            started(0, wait(0, "receive", "Paid | Refused on card"), wait(1, "receive", "Paid")),
            turn(1, "message", message_id="1", type="Shipped", body={}),
            turn(2, "message", message_id="2", type="Paid", body={}),
            turn(3, "message", message_id="3", type="Refused", channel="card", body={}),
            timer(4, wait(2, "receive", "Shipped")),
            timer(5, finish()),
        ]
    )
    assert spans["receive Paid"].ended_us == us(2)
    assert spans["receive Paid | Refused"].ended_us == us(3)
    assert (spans["receive Shipped"].begun_us, spans["receive Shipped"].ended_us) == (us(4), us(4))
    assert spans["receive Paid"].attributes["messaging.operation.type"] == "receive"


def test_a_receive_that_nobody_answered() -> None:
    spans = named([started(0, wait(0, "receive", "Paid")), timer(60, finish("failed", LOST))])
    assert (spans["receive Paid"].error, spans["receive Paid"].ended_us) == ("no answer in time", us(60))


def test_sleeps_end_when_they_are_due_and_timeouts_are_no_spans() -> None:
    spans = named(
        [
            started(0, wait(0, "timeout", "3600s"), wait(1, "sleep", "2s"), call(2, "Ask")),
            timer(2.01),
            replied(3, 2, finish()),
        ]
    )
    assert set(spans) == {"sleep 2s", "call Ask", "saga checkout"}
    assert spans["sleep 2s"].ended_us == us(2.01)


def test_stuck_after_the_pivot_it_is_open_until_a_person_has_spoken() -> None:
    stuck = status("stuck", "Ship #1 failed after the pivot")
    begin = [
        started(0, wait(0, "pivot"), call(1, "Ship")),
        replied(1, 1, stuck, outcome="failed", problem=LOST),
    ]
    again = named(
        [
            *begin,
            turn(9, "verb", status("running"), call(1, "Ship", attempt=2), verb="retry"),
            replied(10, 1, finish(), attempt=2),
        ]
    )
    assert (again["call Ship"].ended_us, again["call Ship"].error) == (us(10), None)
    skipped = named([*begin, turn(9, "verb", status("running"), finish(), verb="skip", note="by phone")])
    assert skipped["call Ship"].ended_us == us(1)
    assert skipped["call Ship"].error == "no answer"
    assert [event.name for event in skipped["saga checkout"].events] == ["pivot", "status", "verb", "status"]


def test_an_undo_that_a_person_gave_up_is_left() -> None:
    spans = named(
        [
            started(0, call(0, "ChargeCard")),
            replied(1, 0, status("compensating"), undo(0, "ChargeCard")),
            undone(2, 0, status("stuck", "no way"), outcome="failed", problem=DECLINED),
            turn(3, "verb", finish("failed", DECLINED, ("ChargeCard #0",)), verb="skip", note="refunded by hand"),
        ]
    )
    back = spans["undo ChargeCard"]
    assert (back.attributes["amends.outcome"], back.attributes["amends.undo.note"]) == ("left", "refunded by hand")
    assert back.error == DECLINED["text"]
    assert spans["saga checkout"].attributes["amends.left_undone"] == "ChargeCard #0"


def test_takeovers_survived_are_events_of_the_root() -> None:
    takeovers = [Takeover(us(-5), 1, "a"), Takeover(us(1), 2, "b"), Takeover(us(9), 3, "c")]
    root = named([started(0, call(0, "Ask")), replied(2, 0, finish())], takeovers=takeovers[:2])["saga checkout"]
    assert [(e.name, e.at_us, e.attributes["amends.worker"]) for e in root.events] == [("taken over", us(1), "b")]


def test_what_is_written_without_waiting_has_a_span_that_receivers_hang_below() -> None:
    spans = named(
        [
            started(
                0,
                {"op": "publish", "seq": 0, "name": "OrderPaid", "topic": "orders", "body": {}},
                {"op": "send", "seq": 1, "name": "Nudge", "id": "other", "channel": ""},
                {"op": "start", "seq": 2, "name": "dispatch", "id": "d-1"},
                {"op": "set", "seq": 3, "key": "k", "value": 1},
                finish(),
            )
        ]
    )
    assert set(spans) == {"publish OrderPaid", "send Nudge other", "start dispatch d-1", "saga checkout"}
    assert spans["publish OrderPaid"].attributes["messaging.destination.name"] == "shop.orders"
    assert len(str(spans["publish OrderPaid"].attributes["messaging.message.id"])) == 36


def test_no_text_is_longer_than_it_may_be_and_no_body_gets_in() -> None:
    secret = {"kind": "error", "type": "Boom", "text": "x" * 5_000, "effect": "unknown"}
    bodies = [
        started(0, {**call(0, "Ask"), "body": {"card": "4111"}}),
        replied(1, 0, finish("failed", secret), outcome="failed", problem=secret, body={"pan": "4111"}),
    ]
    for span in spans_of(FACTS, bodies):
        assert "4111" not in repr(span)
        assert max(len(str(value)) for value in span.attributes.values()) <= 300
        assert len(span.error or "") <= 300


def test_a_caller_who_does_not_sample_is_followed() -> None:
    assert not ids.is_sampled(f"00-{'ab' * 16}-{'cd' * 8}-00")
    assert ids.header("uid", f"00-{'ab' * 16}-{'cd' * 8}-00", "1").endswith("-00")
    for unusable in (None, "", "nonsense", f"00-{'0' * 32}-{'cd' * 8}-01", f"00-{'AB' * 16}-{'cd' * 8}-01"):
        assert ids.caller(unusable) is None
        assert ids.is_sampled(unusable)


def test_ids_do_not_change_between_releases() -> None:
    """Traces of sagas that run for weeks would fall apart."""
    uid = "5f0f0cde-0000-4000-8000-000000000007"
    assert ids.trace_id(uid, None) == "687f7e52c95cc05d1ebad40e4c44d270"
    assert ids.span_id(uid, ids.ROOT) == "e2741cb7d45c340d"
    assert ids.span_id(uid, ids.undo_part(3)) == "38db93710fad07b0"
