"""What a step can know about itself while it runs. The engine sets it around each attempt."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from orchestrator.errors import Misuse


@dataclass(frozen=True, slots=True)
class StepContext:
    """`key` never changes over retries: put it into Idempotency-Key. `attempt` counts from 1."""

    key: str
    attempt: int


_CURRENT: ContextVar[StepContext] = ContextVar("amends_step")


def current_step() -> StepContext:
    """The step that is running. Raises Misuse anywhere else."""
    try:
        return _CURRENT.get()
    except LookupError:
        raise Misuse("current_step() is for the functions that s.step and s.transaction run") from None


@contextmanager
def running_step(key: str, attempt: int) -> Iterator[StepContext]:
    """Around one attempt, in the thread or task that runs it."""
    context = StepContext(key, attempt)
    token = _CURRENT.set(context)
    try:
        yield context
    finally:
        _CURRENT.reset(token)
