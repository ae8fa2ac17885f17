"""What a saga waits for, in words."""

from collections.abc import Sequence

from orchestrator.story.model import CALLED, WAITS, Attempt, Story


def waiting_for(story: Story) -> tuple[str, ...]:
    """What is open, the oldest first: `call ChargeCard, attempt 2`, `receive PaymentSettled`, `undo of ReserveStock`"""
    lines: list[str] = []
    for operation in story.operations.values():
        if operation.undo is not None and operation.undo.ended_us is None:
            lines.append(f"undo of {operation.title}{_attempt(operation.undo.attempts)}")
        elif operation.is_open and operation.undo is None and operation.kind in (*CALLED, *WAITS):
            lines.append(f"{operation.title}{_attempt(operation.attempts)}")
    return tuple(lines)


def _attempt(attempts: Sequence[Attempt]) -> str:
    return f", attempt {attempts[-1].number}" if attempts and attempts[-1].number > 1 else ""
