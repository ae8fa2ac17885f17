"""What a step can know about itself while it runs. The engine sets it around each attempt."""

from contextvars import ContextVar, Token
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


class running_step:  # noqa: N801  # a context manager without a generator: it stands around every step
    """Around one attempt, in the thread or task that runs it."""

    __slots__ = ("_context", "_token")

    def __init__(self, key: str, attempt: int) -> None:
        self._context = StepContext(key, attempt)

    def __enter__(self) -> StepContext:
        self._token: Token[StepContext] = _CURRENT.set(self._context)
        return self._context

    def __exit__(self, *_: object) -> None:
        _CURRENT.reset(self._token)
