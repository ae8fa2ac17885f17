"""The life of a saga: status x what happens -> status; and where each verb of a person is allowed.

The words are those that the table `amends.sagas` stores (a test compares them with its CHECK constraint).
"""

from typing import Literal

from orchestrator.errors import AmendsError

Status = Literal[
    "queued", "running", "compensating", "stuck", "blocked", "completed", "failed", "cancelled", "terminated"
]
Happening = Literal[
    "start", "compensate", "stick", "go_on", "block", "unblock", "complete", "fail", "cancel", "terminate", "take_back"
]
Verb = Literal["cancel", "terminate", "retry", "skip", "fail", "unblock"]

# fmt: off
TRANSITIONS: dict[tuple[Status, Happening], Status] = {
    ("queued", "start"): "running",
    ("queued", "cancel"): "cancelled",           ("queued", "terminate"): "terminated",
    ("queued", "block"): "blocked",
    ("running", "compensate"): "compensating",   ("running", "stick"): "stuck",
    ("running", "complete"): "completed",        ("running", "fail"): "failed",
    ("running", "cancel"): "cancelled",          ("running", "terminate"): "terminated",
    ("running", "block"): "blocked",
    ("compensating", "stick"): "stuck",          ("compensating", "fail"): "failed",
    ("compensating", "cancel"): "cancelled",     ("compensating", "terminate"): "terminated",
    ("compensating", "block"): "blocked",
    # Stuck: a person decides. `go_on` leads back to where it was: see `after`.
    ("stuck", "fail"): "failed",                 ("stuck", "terminate"): "terminated",
    ("stuck", "block"): "blocked",
    # Blocked: nothing of the turn was stored, so unblocking is a replay; the engine knows the status before.
    ("blocked", "terminate"): "terminated",
    # A completed child is taken back with its parent (rule 11).
    ("completed", "take_back"): "compensating",
}
# fmt: on

VERBS: dict[Verb, frozenset[Status]] = {
    "cancel": frozenset(("queued", "running")),  # the undo phase is shielded from it
    "terminate": frozenset(("queued", "running", "compensating", "stuck", "blocked")),
    "retry": frozenset(("stuck",)),
    "skip": frozenset(("stuck",)),
    "fail": frozenset(("stuck",)),
    "unblock": frozenset(("blocked",)),
}

TERMINAL: frozenset[Status] = frozenset(("completed", "failed", "cancelled", "terminated"))
RETURNING: frozenset[tuple[Status, Happening]] = frozenset((("stuck", "go_on"), ("blocked", "unblock")))


class LifecycleContradiction(AmendsError):
    """A bug of the runtime: this can't happen to a saga of that status."""


def after(status: Status, happening: Happening, *, before: Status = "running") -> Status:
    """The next status. The two pairs in RETURNING lead to `before`, the status before it was stuck or blocked."""
    if (status, happening) in RETURNING:
        return before
    try:
        return TRANSITIONS[status, happening]
    except KeyError:
        text = f"`{happening}` can't happen to a saga that is {status}: please report this"
        raise LifecycleContradiction(text) from None


def refusal(status: Status, verb: Verb) -> str | None:
    """Why a verb is not for a saga of this status; None if it is allowed."""
    if status in VERBS[verb]:
        return None
    return f"`{verb}` is for sagas that are {' or '.join(sorted(VERBS[verb]))}: this one is {status}"
