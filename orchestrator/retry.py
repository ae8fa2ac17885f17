"""How often, how far apart, and after what an operation is tried again. A value: who decides is `core.operations`."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from orchestrator.errors import DefinitionError

_FACTOR_MAX = 100.0
_EXPONENT_MAX = 64  # 100 ** 64 is far above every delay, and far below what a float can hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A `Failure` is never retried; a `Transient` always is.

    Waits first_delay_s, then times factor each, up to max_delay_s, with full jitter (seconds).
    `on` names the exception classes worth another attempt (steps; a participant decides for its commands).
    `attempt_timeout_s` limits one attempt. `timeout=` of the operation limits all of them together.
    Raises DefinitionError for values that can't be meant.
    """

    max_attempts: int = 5
    first_delay_s: float = 1.0
    factor: float = 2.0
    max_delay_s: float = 60.0
    attempt_timeout_s: float | None = None
    on: tuple[type[Exception], ...] = (Exception,)

    never: ClassVar["Retry"]
    for_ever: ClassVar["Retry"]

    def __post_init__(self) -> None:
        # Written so that NaN fails too.
        if not (self.max_attempts >= 1 and self.first_delay_s >= 0 and 1 <= self.factor <= _FACTOR_MAX):
            raise DefinitionError(
                f"{self}: max_attempts must be 1 or more, first_delay_s 0 or more, factor 1 to {_FACTOR_MAX:g}"
            )
        if not self.first_delay_s <= self.max_delay_s < math.inf:
            raise DefinitionError(f"{self}: max_delay_s must not be below first_delay_s, nor without an end")
        if self.attempt_timeout_s is not None and not self.attempt_timeout_s > 0:
            raise DefinitionError(f"{self}: attempt_timeout_s must be more than 0 (None: no limit)")
        on: Any = self.on  # what a caller without a type checker gave
        if not (isinstance(on, tuple) and all(isinstance(e, type) and issubclass(e, Exception) for e in on)):
            raise DefinitionError(f"{self}: on must be a tuple of exception classes: on=(httpx.TransportError,)")

    def delay_s(self, attempts: int, jitter: float) -> float:
        """Seconds to wait after `attempts` attempts; `jitter` is in [0, 1)."""
        # The exponent is capped: 2.0 ** 1024 is an OverflowError, and for_ever gets there.
        grown_s = self.first_delay_s * self.factor ** min(attempts - 1, _EXPONENT_MAX)
        return min(self.max_delay_s, grown_s) * jitter


Retry.never = Retry(max_attempts=1)
Retry.for_ever = Retry(max_attempts=2**31 - 1)
