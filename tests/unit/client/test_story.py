"""A journal is read as people read it. The journals here are written as core.decisions and core.entries write them."""

from typing import Any

from orchestrator.story import Operation, Story, read_story, waiting_for

S = 1_000_000
CALL = {"op": "call", "seq": 0, "name": "ReserveStock", "service": "stock", "body": {}}


def started(*decisions: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"in": "started", "at": 1 * S, "input": {}}, *decisions]


def replied(at_s: float, seq: int, outcome: str, *decisions: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    said = {} if outcome == "succeeded" else {"outcome": outcome}  # what is usual is left out
    return [{"in": "replied", "at": int(at_s * S), "seq": seq, **said, **more}, *decisions]


def only(story: Story) -> Operation:
    [operation] = story.operations.values()
    return operation


def test_a_call_is_open_until_it_is_answered() -> None:
    assert waiting_for(read_story([started(CALL)])) == ("call ReserveStock",)
    story = read_story([started(CALL), replied(2, 0, "succeeded")])
    assert waiting_for(story) == ()
    call = only(story)
    assert (call.state, call.begun_us, call.ended_us, call.service) == ("succeeded", 1 * S, 2 * S, "stock")


def test_a_retry_is_another_attempt_of_the_same_operation() -> None:
    again = {"op": "call", "seq": 0, "attempt": 2, "name": "ReserveStock"}
    lost = {"kind": "error", "type": "ReadTimeout", "text": "gateway", "effect": "unknown"}
    story = read_story([started(CALL), replied(2, 0, "retry", again, problem=lost)])
    assert waiting_for(story) == ("call ReserveStock, attempt 2",)
    assert [(a.number, a.outcome, a.text) for a in only(story).attempts] == [
        (1, "retry", "ReadTimeout: gateway"),
        (2, "", ""),
    ]


def test_a_definite_no_and_an_unknown_end_are_told_apart() -> None:
    no = {"kind": "failure", "type": "NoStock", "text": "NoStock(item='pan')", "effect": "none", "fields": {}}
    assert only(read_story([started(CALL), replied(2, 0, "failed", problem=no)])).state == "failed"
    unknown = {**no, "effect": "unknown"}
    assert only(read_story([started(CALL), replied(2, 0, "failed", problem=unknown)])).state == "unknown"


def test_what_is_usual_of_an_answer_may_be_said_or_left_out() -> None:
    answer = {"in": "replied", "at": 2 * S, "seq": 0}
    story = read_story([started(CALL), [answer]])
    assert story == read_story([started(CALL), [{**answer, "attempt": 1, "outcome": "succeeded"}]])
    assert only(story).state == "succeeded"


def test_an_undo_is_open_until_it_is_answered() -> None:
    undo = {"op": "undo", "undo_of": 0, "attempt": 1, "name": "ReserveStock", "known": "done"}
    rows = [started(CALL), replied(2, 0, "succeeded", undo)]
    assert waiting_for(read_story(rows)) == ("undo of call ReserveStock",)
    answer = {"in": "undo_replied", "at": 3 * S, "seq": 0, "outcome": "undone"}
    story = read_story([*rows, [answer, {"op": "finish", "name": "failed", "problem": {"type": "X", "text": ""}}]])
    assert waiting_for(story) == ()
    assert only(story).undo is not None
    assert only(story).undo.state == "undone"
    assert story.ended_us == 3 * S


def test_the_undo_of_a_step_is_a_step_that_names_it() -> None:
    step = {"op": "step", "seq": 0, "name": "grant_role"}
    undo = {"op": "step", "seq": 1, "name": "revoke_role", "undo_of": 0}
    ended = {"in": "step_ended", "at": 2 * S, "seq": 0}
    rows = [started(step), [ended, undo]]
    assert waiting_for(read_story(rows)) == ("undo of step grant_role",)
    undone = {"in": "step_ended", "at": 3 * S, "seq": 1}
    assert waiting_for(read_story([*rows, [undone]])) == ()


def test_a_receive_ends_with_a_message_of_its_type() -> None:
    receive = {"op": "receive", "seq": 0, "name": "PaymentSettled | PaymentRefused"}
    other = [{"in": "message", "at": 2 * S, "message_id": "m", "type": "Other"}]
    mine = [{"in": "message", "at": 3 * S, "message_id": "n", "type": "PaymentRefused"}]
    assert waiting_for(read_story([started(receive), other])) == ("receive PaymentSettled | PaymentRefused",)
    assert waiting_for(read_story([started(receive), other, mine])) == ()


def test_a_message_that_came_before_is_received_at_once() -> None:
    early = [{"in": "message", "at": 2 * S, "message_id": "m", "type": "Paid", "channel": "lead"}]
    other = {"op": "receive", "seq": 1, "name": "Paid"}
    mine = {"op": "receive", "seq": 2, "name": "Refused | Paid on lead"}
    story = read_story([started(CALL), early, replied(3, 0, "succeeded", other, mine)])
    assert waiting_for(story) == ("receive Paid",)


def test_a_sleep_ends_when_it_is_due() -> None:
    sleep = {"op": "sleep", "seq": 0, "name": "60s"}
    early = [{"in": "timer", "at": 20 * S, "timer": 0}]  # some other operation's next attempt
    due = [{"in": "timer", "at": 61 * S, "timer": 1}, {**CALL, "seq": 1}]
    assert waiting_for(read_story([started(sleep), early])) == ("sleep 60s",)
    assert waiting_for(read_story([started(sleep), early, due])) == ("call ReserveStock",)


def test_a_receive_is_over_when_its_patience_is() -> None:
    receive = {"op": "receive", "seq": 0, "name": "Paid"}
    timer = [{"in": "timer", "at": 61 * S, "timer": 1}, {**CALL, "seq": 1}]
    assert waiting_for(read_story([started(receive), timer])) == ("call ReserveStock",)


def test_what_a_newer_version_writes_is_passed_over() -> None:
    story = read_story([[{"in": "teleported", "at": S}, {"op": "wish", "seq": 3}], []])
    assert story.operations == {}
    assert story.turns == 1


def test_marks_tell_what_happened_to_the_whole() -> None:
    story = read_story(
        [
            started({"op": "pivot", "seq": 0, "name": ""}, {"op": "status", "name": "stuck", "reason": "refused"}),
            [{"in": "verb", "at": 2 * S, "verb": "skip", "note": "by hand"}, {"op": "finish", "name": "completed"}],
        ]
    )
    assert [(mark.kind, mark.text) for mark in story.marks] == [
        ("pivot", "from here on only forward"),
        ("status", "stuck: refused"),
        ("verb", "skip: by hand"),
        ("end", "completed"),
    ]
