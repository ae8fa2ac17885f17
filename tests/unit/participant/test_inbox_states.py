"""The table sees one row, the promise speaks of the whole history: they agree on every history of seven messages.

`promised` is written from the rules (DESIGN 3: 2, 5, 7, 8), without looking at the table. Planted changes show what the
comparison is worth: all of them are found but those listed in `EQUIVALENT`.
"""

from dataclasses import dataclass
from typing import get_args

import pytest

from orchestrator.participant import inbox_states
from orchestrator.participant.inbox_states import Action, Event, InboxContradiction, InboxRow, State, decide

Past = tuple[tuple[Event, Action], ...]

MESSAGES_MAX = 7
LITERAL_MAX = 4
PLANTED_MAX = 5  # finds them all, in a third of the time
ENDS = ("succeeded", "declined", "postponed", "lost", "broken")
ANSWERED = ("succeeded", "declined", "broken", "expired", "aged")
NOBODY_KNOWS = ("aged", "lost", "broken", "deadline", "undo_aged", "undo_unclear", "undo_deadline")
ASKS_FOR_UNDO = ("undo_done", "undo_unknown", "undo_aged")


@dataclass(frozen=True)
class Facts:
    """All that the promise may use of a history."""

    unheard: bool  # nothing of this key has come
    out: bool  # a run of the command is outside, or somebody asks what came of one
    answered: bool  # a final answer was given
    happened: bool  # the effect is known to have happened
    in_doubt: bool  # it may have, for all that anybody knows
    tombstone: bool  # closed by an undo before anything else came
    closed: bool  # an undo was taken up
    undoing: bool  # and has not ended
    look_again: bool  # a second lookup is due


def facts(past: Past) -> Facts:
    heard = [(e, a) for e, a in past if a != "ignore"]
    events = [e for e, _ in heard]
    last_out = max((i for i, (_, a) in enumerate(heard) if a in ("run", "ask")), default=-1)
    last_end = max((i for i, (e, a) in enumerate(heard) if e in ENDS or (e == "late" and a == "answer")), default=-1)
    taken_up = [i for i, (e, a) in enumerate(heard) if e in ASKS_FOR_UNDO and a != "wait"]
    last_undo = max((i for i, (_, a) in enumerate(heard) if a == "undo"), default=-1)
    last_undone = max((i for i, e in enumerate(events) if e == "undo_ended"), default=-1)
    since_found = len(past) - max((i + 1 for i, (e, _) in enumerate(past) if e == "found"), default=0)
    in_doubt = any(e in NOBODY_KNOWS for e, _ in past[len(past) - since_found :])
    seconds = [e for e, _ in past if e in ("undo_ended", "found", "not_found", "late")]
    undoing = last_undo > last_undone
    return Facts(
        unheard=not heard,
        out=last_out > last_end,
        answered=any(e in ANSWERED or (e == "late" and a == "answer") for e, a in heard),
        happened=any(e in ("succeeded", "late", "undo_done") for e in events),
        in_doubt=in_doubt,
        tombstone=bool(taken_up) and heard[0] == ("undo_unknown", "answer") and last_undo < 0,
        closed=bool(taken_up),
        undoing=undoing,
        look_again=not undoing and bool(seconds) and seconds[-1] == "undo_ended" and in_doubt_at_last_end(past),
    )


def in_doubt_at_last_end(past: Past) -> bool:
    ends = [i for i, (e, _) in enumerate(past) if e == "undo_ended"]
    if not ends:
        return False
    until = past[: ends[-1]]
    found = max((i + 1 for i, (e, _) in enumerate(until) if e == "found"), default=0)
    return any(e in NOBODY_KNOWS for e, _ in until[found:])


def promised(known: Facts, event: Event) -> Action | None:
    """What has to be done; None: this can't come."""
    if event in ("expired", "aged", "undo_aged"):
        return None if not known.unheard else "undo" if event == "undo_aged" else "answer"
    if event == "command":
        return "refuse" if known.closed else "wait" if known.out else "answer" if known.answered else "run"
    if event == "repeat":
        return None if known.unheard else "refuse" if known.closed else "wait" if known.out else "answer"
    if event in ENDS or event == "deadline":
        return None if not known.out or known.closed else "ask" if event == "deadline" else "answer"
    if event == "late":
        if known.unheard or (known.happened and known.answered and not known.closed):
            return "ignore"
        return "undo" if known.closed else "answer"
    if event in ("undo_done", "undo_unknown"):
        return promised_undo(known, event)
    if event in ("found", "not_found"):
        if not known.closed or known.undoing or known.tombstone:
            return None
        return "undo" if event == "found" else "ignore"
    if not known.undoing:
        return None
    return "wait" if event == "undo_early" else "undo" if event in ("undo_free", "undo_deadline") else "answer"


def promised_undo(known: Facts, event: Event) -> Action | None:
    forgot = known.answered and known.in_doubt  # A late copy of a command whose row was purged: "nobody knows".
    if (
        event == "undo_done"
        and not known.unheard
        and (known.tombstone or not (known.happened or known.closed or forgot))
    ):
        return None  # The orchestrator knows of a success that we have no trace of.
    if known.closed:
        return "wait" if known.undoing else "answer"
    if known.out:
        return "wait"
    return "undo" if known.happened or known.in_doubt or event == "undo_done" else "answer"


def check(row: InboxRow, past: Past, left: int, seen: set[object] | None) -> None:
    """Every history that goes on from here, `left` messages more. `seen`: what needs no second look."""
    known = facts(past)
    if seen is not None:
        if (row, known, left) in seen:
            return
        seen.add((row, known, left))
    assert row.in_doubt == known.in_doubt, past
    assert row.recheck == known.look_again, past
    for event in get_args(Event) if left else ():
        try:
            after, action = decide(row, event)
        except InboxContradiction:
            assert promised(known, event) is None, (*past, event)
            continue
        assert action == promised(known, event), (*past, event, action, row)
        check(after, (*past, (event, action)), left - 1, seen)


def test_the_table_keeps_the_promise_in_every_history_of_four_taken_literally():
    check(InboxRow("k:0:1"), (), LITERAL_MAX, None)


def test_the_table_keeps_the_promise_in_every_history_of_seven():
    # Two histories with the same row and the same facts go on alike: the promise sees nothing but the facts.
    check(InboxRow("k:0:1"), (), MESSAGES_MAX, set())


# Changes that change nothing anybody can see.
EQUIVALENT: dict[tuple[State, Event], set[tuple[State, Action]]] = {}


def planted_changes():
    for (state, event), (after, action) in inbox_states.TRANSITIONS.items():
        for other in get_args(State):
            if other != after:
                yield (state, event), (other, action)
        for other_action in get_args(Action):
            if other_action != action:
                yield (state, event), (after, other_action)


def is_found(place, planted, monkeypatch) -> bool:
    with monkeypatch.context() as patch:
        patch.setitem(inbox_states.TRANSITIONS, place, planted)
        try:
            check(InboxRow("k:0:1"), (), PLANTED_MAX, set())
        except AssertionError:
            return True
    return False


@pytest.mark.slow
def test_planted_changes_are_found(monkeypatch):
    changes = list(planted_changes())
    missed = [(place, planted) for place, planted in changes if not is_found(place, planted, monkeypatch)]
    expected = {(place, planted) for place, all_planted in EQUIVALENT.items() for planted in all_planted}
    assert set(missed) == expected, f"{len(missed)} of {len(changes)} planted changes were missed"


@pytest.mark.parametrize("event", sorted(inbox_states._DOUBTFUL))
def test_a_doubt_that_is_forgotten_is_found(event, monkeypatch):
    monkeypatch.setattr(inbox_states, "_DOUBTFUL", inbox_states._DOUBTFUL - {event})
    with pytest.raises(AssertionError):
        check(InboxRow("k:0:1"), (), MESSAGES_MAX, set())


def test_an_undo_is_heard_after_a_late_copy_of_a_command_whose_row_was_purged():
    row, action = decide(InboxRow("k:0:1"), "aged")
    assert (row.state, action) == ("failed", "answer")
    row, action = decide(row, "undo_done")
    assert (row.state, action) == ("undoing", "undo")
    with pytest.raises(InboxContradiction, match="is `failed`"):  # Here every attempt is known to have had no effect.
        decide(InboxRow("k:0:1", "failed"), "undo_done")


def test_a_contradiction_names_the_row_and_what_to_type_next():
    with pytest.raises(InboxContradiction, match=r"k:0:1: `undo_done` cannot come .*amends skip"):
        decide(InboxRow("k:0:1", "refused"), "undo_done")
