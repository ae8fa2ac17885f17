"""What the stuck desk says: what stands, what was taken back, and what each verb would do and leave."""

from typing import Any

from orchestrator.core.lifecycle import VERBS
from orchestrator.story import Preview, desk_of, read_story

S = 1_000_000
PROBLEM = {"kind": "failure", "type": "Rusted", "text": "Rusted(what='s')", "effect": "none"}
UNKNOWN = {"kind": "error", "type": "ReadTimeout", "text": "gateway", "effect": "unknown"}

Body = list[dict[str, Any]]


def call(seq: int, name: str) -> dict[str, Any]:
    return {"op": "call", "seq": seq, "name": name, "service": "shop", "body": {}}


def undo(seq: int, name: str, known: str = "done") -> dict[str, Any]:
    return {"op": "undo", "undo_of": seq, "attempt": 1, "name": name, "known": known}


def status(name: str) -> dict[str, Any]:
    return {"op": "status", "name": name, "reason": ""}


def came(kind: str, at_s: int, seq: int, outcome: str, *decisions: dict[str, Any], **more: Any) -> Body:
    return [{"in": kind, "at": at_s * S, "seq": seq, "attempt": 1, "outcome": outcome, **more}, *decisions]


STARTED: Body = [{"in": "started", "at": S, "input": {}}, call(0, "Post")]
# Post, Store and Ship are done, Pay says no; Ship is taken back, the undo of Store says no.
STUCK_UNDOING: list[Body] = [
    STARTED,
    came("replied", 2, 0, "succeeded", call(1, "Store")),
    came("replied", 3, 1, "succeeded", call(2, "Ship")),
    came("replied", 4, 2, "succeeded", call(3, "Pay")),
    came("replied", 5, 3, "failed", status("compensating"), undo(2, "Ship"), problem=PROBLEM),
    came("undo_replied", 6, 2, "undone", undo(1, "Store")),
    came("undo_replied", 7, 1, "failed", status("stuck"), problem=PROBLEM),
]
# Past the pivot, Ship says no.
STUCK_FORWARD: list[Body] = [
    STARTED,
    came("replied", 2, 0, "succeeded", {"op": "pivot", "seq": 1, "name": ""}, call(2, "Ship")),
    came("replied", 3, 2, "failed", status("stuck"), problem=PROBLEM),
]


def preview(verb: str, bodies: list[Body], saga_status: Any) -> Preview:
    return next(one for one in desk_of(read_story(bodies), saga_status).previews if one.verb == verb)


def test_every_verb_is_told_of() -> None:
    assert [one.verb for one in desk_of(read_story(STUCK_UNDOING), "stuck").previews] == list(VERBS)


def test_of_a_refused_undo() -> None:
    desk = desk_of(read_story(STUCK_UNDOING), "stuck")
    assert desk.phase == "undoing"
    assert [one.name for one in desk.standing] == ["Post", "Store"]
    assert [one.name for one in desk.taken_back] == ["Ship"]
    assert desk.next == ("undo of call Store",)
    fits = {one.verb for one in desk.previews if one.fits}
    assert fits == {"retry", "skip", "fail", "terminate"}


def test_what_the_verbs_leave_of_a_refused_undo() -> None:
    assert preview("retry", STUCK_UNDOING, "stuck").left == ()
    assert preview("skip", STUCK_UNDOING, "stuck").left == ("call Store",)
    assert preview("fail", STUCK_UNDOING, "stuck").left == ("call Post", "call Store")
    assert preview("terminate", STUCK_UNDOING, "stuck").left == ("call Post", "call Store")
    assert "undo of call Store" in preview("retry", STUCK_UNDOING, "stuck").does
    assert "undo of call Store" in preview("skip", STUCK_UNDOING, "stuck").does


def test_what_was_skipped_before_stays_also_after_a_retry() -> None:
    skipped = [
        *STUCK_UNDOING,
        [{"in": "verb", "at": 8 * S, "verb": "skip", "note": "by hand"}, status("compensating"), undo(0, "Post")],
        came("undo_replied", 9, 0, "failed", status("stuck"), problem=PROBLEM),
    ]
    assert preview("retry", skipped, "stuck").left == ("call Store",)
    assert preview("skip", skipped, "stuck").left == ("call Store", "call Post")


def test_of_a_step_after_the_pivot() -> None:
    desk = desk_of(read_story(STUCK_FORWARD), "stuck")
    assert (desk.phase, desk.next) == ("forward", ("call Ship",))
    assert [one.name for one in desk.standing] == ["Post"]
    for verb in ("retry", "skip", "fail", "terminate"):
        told = preview(verb, STUCK_FORWARD, "stuck")
        assert (told.fits, told.left) == (True, ("call Post",))


def test_a_function_that_raised_after_the_pivot_can_only_be_given_up() -> None:
    raised = [*STUCK_FORWARD[:1], came("replied", 2, 0, "succeeded", {"op": "pivot", "seq": 1}, status("stuck"))]
    fits = {one.verb for one in desk_of(read_story(raised), "stuck").previews if one.fits}
    assert fits == {"fail", "terminate"}
    assert "only `fail` is left" in preview("retry", raised, "stuck").why_not


def test_an_operation_in_doubt_stands() -> None:
    doubted = [STARTED, came("replied", 2, 0, "failed", call(1, "Store"), problem=UNKNOWN)]
    assert [one.name for one in desk_of(read_story(doubted), "running").standing] == ["Post"]


def test_an_attempt_that_was_lost_may_have_happened_while_the_next_is_out() -> None:
    again = {"op": "call", "seq": 0, "attempt": 2, "name": "Post"}
    lost = [STARTED, came("replied", 2, 0, "retry", again, problem=UNKNOWN)]
    assert [one.name for one in desk_of(read_story(lost), "running").standing] == ["Post"]
    assert desk_of(read_story([STARTED]), "running").standing == ()


def test_a_definite_no_does_not_stand() -> None:
    refused = [STARTED, came("replied", 2, 0, "failed", call(1, "Store"), problem=PROBLEM)]
    assert desk_of(read_story(refused), "running").standing == ()


def test_cancel_takes_back_and_is_refused_past_the_pivot() -> None:
    assert preview("cancel", STUCK_UNDOING[:2], "running").fits
    assert preview("cancel", STUCK_UNDOING[:2], "running").left == ()
    past = preview("cancel", STUCK_FORWARD[:2], "running")
    assert (past.fits, past.why_not) == (False, "the saga is past its pivot: it only goes forward")


def test_of_a_blocked_saga() -> None:
    desk = desk_of(read_story(STUCK_UNDOING[:2]), "blocked")
    assert desk.phase == "blocked"
    assert {one.verb for one in desk.previews if one.fits} == {"unblock", "terminate"}


def test_over_is_over() -> None:
    desk = desk_of(read_story(STUCK_UNDOING), "failed")
    assert desk.phase == "over"
    assert not [one for one in desk.previews if one.fits]


def test_who_leaves_something_says_why() -> None:
    noted = {one.verb for one in desk_of(read_story(STUCK_UNDOING), "stuck").previews if one.needs_note}
    assert noted == {"terminate", "skip", "fail"}
