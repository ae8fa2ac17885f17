"""The outcome of an operation: what may happen to it in which state, and which replies count (rules 2, 5, 6).

The table is the whole machine of one operation that has a way back; those without one only use its left half. It knows
nothing of attempts: `reply_counts` below it decides whether a reply is an event at all.
"""

from typing import Literal

from orchestrator.errors import AmendsError

State = Literal["open", "succeeded", "failed", "unknown", "undoing", "undone", "left"]
Event = Literal["succeeded", "failed", "lost", "again", "undo", "undone", "given_up"]

# (state, what happened): state after. A missing pair is a bug of ours.
# fmt: off
TRANSITIONS: dict[tuple[State, Event], State] = {
    # `lost`: timed out, cancelled, or out of attempts while one of them may have had an effect.
    ("open", "succeeded"): "succeeded",    ("open", "failed"): "failed",         ("open", "lost"): "unknown",
    # A late answer to what nobody waits for any more is an input of the undo (rule 6).
    ("unknown", "succeeded"): "succeeded", ("unknown", "failed"): "failed",      ("unknown", "lost"): "unknown",
    ("undoing", "succeeded"): "undoing",   # the undo that is repeated carries the reply
    # After the pivot a person may have it tried again.
    ("failed", "again"): "open",           ("unknown", "again"): "open",
    # Taking back. What failed had no effect and is never undone.
    ("succeeded", "undo"): "undoing",      ("unknown", "undo"): "undoing",
    ("undoing", "undone"): "undone",       ("undoing", "given_up"): "left",
}
# fmt: on

MAY_HAVE_HAPPENED: frozenset[State] = frozenset(("open", "succeeded", "unknown"))
TO_SETTLE: frozenset[State] = frozenset(("open", "unknown"))


class OutcomeContradiction(AmendsError):
    """An operation was told something that can't happen in its state: a bug of the runtime."""


def after(state: State, event: Event) -> State:
    """The state after the event. Raises OutcomeContradiction if the table has no such pair."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        text = f"`{event}` can't happen to an operation that is `{state}`: please report this"
        raise OutcomeContradiction(text) from None


def reply_counts(
    state: State, reply: Literal["succeeded", "failed", "retry"], *, attempt: int, sent: int, in_flight: bool
) -> str | None:
    """None if a reply counts; else the reason why it is counted and not journaled.

    `succeeded` and `failed` end an open operation whatever their attempt; `retry` speaks of its own attempt only, for
    a copy that comes later must not burn the next one (A4).
    """
    if attempt > sent:
        return "a reply to an attempt that was never made"
    if reply == "retry":
        if state != "open":
            return "a late `retry`"
        return None if attempt == sent and in_flight else "a `retry` of an earlier attempt"
    if (state, reply) in TRANSITIONS:
        return None
    return f"a late `{reply}`: the operation is {state}"
