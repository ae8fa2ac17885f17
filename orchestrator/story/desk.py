"""What a person must know who decides about a saga: what holds in the world, and what each verb would do. Pure.

The journal does not say which operations have a way back before they are taken back. So what a verb leaves is said as
what holds then; what of it can't be taken back at all was never going to be.
"""

from dataclasses import dataclass
from typing import Literal

from orchestrator.core.lifecycle import VERBS, Status, Verb, refusal
from orchestrator.story.model import CALLED, Operation, Story

Phase = Literal["forward", "undoing", "blocked", "over"]

# They leave something as it is: their note says why.
NOTED: frozenset[Verb] = frozenset(("terminate", "skip", "fail"))


@dataclass(frozen=True, slots=True)
class Preview:
    """What a verb would do now. `why_not`: it would be refused. `left`: what would hold once it has done its work."""

    verb: Verb
    fits: bool
    why_not: str
    does: str
    left: tuple[str, ...]
    needs_note: bool


@dataclass(frozen=True, slots=True)
class Desk:
    """`standing`: done, or perhaps done, and not taken back; `next`: what it is at, or a person is asked about."""

    phase: Phase
    standing: tuple[Operation, ...]
    taken_back: tuple[Operation, ...]
    next: tuple[str, ...]
    previews: tuple[Preview, ...]


def desk_of(story: Story, status: Status) -> Desk:
    """All verbs are told of, in the order of `VERBS`."""
    operations = [one for one in story.operations.values() if one.kind in CALLED]
    standing = tuple(one for one in operations if _holds(one))
    return Desk(
        phase=phase_of(story, status),
        standing=standing,
        taken_back=tuple(one for one in operations if one.undo is not None and one.undo.state == "undone"),
        next=_next(story, operations),
        previews=tuple(_preview(verb, story, status, standing) for verb in VERBS),
    )


def phase_of(story: Story, status: Status) -> Phase:
    """Which way it goes, or would go if a person said so."""
    match status:
        case "completed" | "failed" | "cancelled" | "terminated":
            return "over"
        case "blocked":
            return "blocked"
        case "compensating":
            return "undoing"
        case "stuck" if any(_is_refused(one) for one in story.operations.values()):
            return "undoing"
    return "forward"


def _holds(operation: Operation) -> bool:
    happened = operation.state in ("succeeded", "unknown") or operation.in_doubt or _is_refused(operation)
    return happened and not (operation.undo is not None and operation.undo.state == "undone")


def _is_refused(operation: Operation) -> bool:
    """Its undo failed, and a person is asked."""
    return operation.undo is not None and operation.undo.state == "failed"


def _next(story: Story, operations: list[Operation]) -> tuple[str, ...]:
    """What was refused first, then what is under way."""
    asked = [f"undo of {one.title}" for one in operations if _is_refused(one)]
    asked += [one.title for one in operations if one.stuck and one.is_open]
    for one in story.operations.values():
        if one.undo is not None and one.undo.state == "open":
            asked.append(f"undo of {one.title}")
        elif one.is_open and one.undo is None and not one.stuck:
            asked.append(one.title)
    return tuple(asked)


def _preview(verb: Verb, story: Story, status: Status, standing: tuple[Operation, ...]) -> Preview:
    why_not = refusal(status, verb) or _nothing_to(verb, story)
    does, left = _effect(verb, story, status, standing)
    return Preview(verb, not why_not, why_not or "", does, left, verb in NOTED)


def _nothing_to(verb: Verb, story: Story) -> str | None:
    """Why the saga itself would refuse a verb that its status allows."""
    if verb == "cancel" and story.pivot_seq is not None:
        return "the saga is past its pivot: it only goes forward"
    if verb in ("retry", "skip") and not _asked(story):
        return f"the function has ended with an error, so there is nothing to {verb}: only `fail` is left"
    return None


def _asked(story: Story) -> list[Operation]:
    """The operations that a person is asked about."""
    return [one for one in story.operations.values() if _is_refused(one) or (one.stuck and one.is_open)]


def _effect(verb: Verb, story: Story, status: Status, standing: tuple[Operation, ...]) -> tuple[str, tuple[str, ...]]:
    """A sentence, and what holds when it has come true."""
    titles = tuple(one.title for one in standing)
    asked = _asked(story)
    names = ", ".join(f"undo of {one.title}" if _is_refused(one) else one.title for one in asked) or "what is stuck"
    undoing = phase_of(story, status) == "undoing"
    stays = _stays(story, standing)
    match verb:
        case "cancel" if status == "queued":
            return "It ends without having begun.", ()
        case "cancel":
            return "Its function meets CancelledError, and what has a way back is taken back, the newest first.", stays
        case "terminate":
            return "It ends at once, without its undos.", titles
        case "retry" if undoing:
            return f"Tries again: {names}. If that is undone, the undos before it follow.", stays
        case "retry":
            return f"Tries again: {names}. If that succeeds, the saga goes on.", titles
        case "skip" if undoing:
            kept = tuple(one.title for one in asked)
            does = f"Leaves it as it is: {names}. It is listed with your note, and the undos before it follow."
            return does, (*stays, *kept)
        case "skip":
            return f"Goes on without it: {names}. The function meets what happened, at its await.", titles
        case "fail":
            return "It ends as failed, nothing more is taken back, and what holds is listed with your note.", titles
        case "unblock":
            return "Replays its journal with the code at hand: if that fits it goes on, else it stays blocked.", titles


def _stays(story: Story, standing: tuple[Operation, ...]) -> tuple[str, ...]:
    """What undos will not reach: somebody gave it up before, or it stands before the pivot."""
    return tuple(
        one.title
        for one in standing
        if (one.undo is not None and one.undo.state == "left")
        or (story.pivot_seq is not None and one.seq < story.pivot_seq and not _is_refused(one))
    )
