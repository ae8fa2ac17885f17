"""The two tables, held against their promises in other words, and against what the database stores."""

import re
from pathlib import Path
from typing import get_args

import pytest

from orchestrator.core import lifecycle, outcomes
from orchestrator.core.lifecycle import TERMINAL, VERBS, Happening, LifecycleContradiction, Status, Verb
from orchestrator.core.outcomes import Event, OutcomeContradiction, State, reply_counts

SQL = Path(__file__).parents[3] / "orchestrator/engine/sql/0001_engine.sql"


def words_of_check(column: str) -> set[str]:
    match = re.search(rf"\b{column} text NOT NULL[^(]*CHECK \({column} IN \(([^)]*)\)", SQL.read_text())
    assert match is not None
    return set(re.findall(r"'(\w+)'", match[1]))


def test_the_words_are_those_of_the_database() -> None:
    assert words_of_check("status") == set(get_args(Status))
    assert words_of_check("verb") == set(get_args(Verb))


def test_what_has_ended_stays_ended_but_for_a_child_that_is_taken_back() -> None:
    leaving = {(status, happening) for status, happening in lifecycle.TRANSITIONS if status in TERMINAL}
    assert leaving == {("completed", "take_back")}


def test_every_status_can_be_reached_and_every_open_one_left() -> None:
    reached: set[str] = {"queued"}
    for _ in get_args(Status):
        reached |= {after for (before, _), after in lifecycle.TRANSITIONS.items() if before in reached}
    assert reached == set(get_args(Status))
    for status in set(get_args(Status)) - TERMINAL:
        assert any(after in TERMINAL for (before, _), after in lifecycle.TRANSITIONS.items() if before == status)


@pytest.mark.parametrize("status", get_args(Status))
@pytest.mark.parametrize("verb", get_args(Verb))
def test_verbs_are_allowed_just_where_they_mean_something(status: Status, verb: Verb) -> None:
    means = {
        "cancel": status in ("queued", "running"),
        "terminate": status not in TERMINAL,
        "retry": status == "stuck",
        "skip": status == "stuck",
        "fail": status == "stuck",
        "unblock": status == "blocked",
    }[verb]
    assert (lifecycle.refusal(status, verb) is None) == means == (status in VERBS[verb])


@pytest.mark.parametrize("status", get_args(Status))
@pytest.mark.parametrize("happening", get_args(Happening))
def test_only_what_is_in_the_table_can_happen(status: Status, happening: Happening) -> None:
    possible = (status, happening) in lifecycle.TRANSITIONS or (status, happening) in lifecycle.RETURNING
    if possible:
        assert lifecycle.after(status, happening, before="compensating") in get_args(Status)
    else:
        with pytest.raises(LifecycleContradiction, match=happening):
            lifecycle.after(status, happening)


# ---- outcomes: the table sees a state, the promise a whole history

HISTORY_MAX = 6


def promised(past: tuple[Event, ...], event: Event) -> bool:
    """Can this happen after that history?"""
    closed = "undone" in past or "given_up" in past
    undoing = "undo" in past and not closed
    since_again = past[len(past) - past[::-1].index("again") :] if "again" in past else past
    answered = "succeeded" in since_again
    refused = "failed" in since_again
    lost = "lost" in since_again
    if closed:
        return False
    if undoing:
        return event in ("succeeded", "undone", "given_up")
    return {
        "succeeded": not answered and not refused,
        "failed": not answered and not refused,
        "lost": not answered and not refused,
        "again": not answered and (refused or lost),
        "undo": not refused and (answered or lost),
        "undone": False,
        "given_up": False,
    }[event]


def check_every_history(state: State, past: tuple[Event, ...]) -> None:
    for event in get_args(Event) if len(past) < HISTORY_MAX else ():
        try:
            after = outcomes.after(state, event)
        except OutcomeContradiction:
            assert not promised(past, event), (*past, event)
            continue
        assert promised(past, event), (*past, event)
        check_every_history(after, (*past, event))


def test_outcomes_keep_the_promise_in_every_history() -> None:
    check_every_history("open", ())


@pytest.mark.parametrize("state", get_args(State))
@pytest.mark.parametrize("reply", ["succeeded", "failed", "retry"])
@pytest.mark.parametrize("attempt", [1, 2, 3])
@pytest.mark.parametrize("in_flight", [True, False])
def test_which_replies_count(state: State, reply: str, attempt: int, in_flight: bool) -> None:
    counts = reply_counts(state, reply, attempt=attempt, sent=2, in_flight=in_flight) is None  # type: ignore[arg-type]
    if attempt == 3:
        assert not counts  # never sent
    elif reply == "retry":
        assert counts == (state == "open" and attempt == 2 and in_flight)
    elif reply == "succeeded":
        assert counts == (state in ("open", "unknown", "undoing"))
    else:
        assert counts == (state in ("open", "unknown"))
