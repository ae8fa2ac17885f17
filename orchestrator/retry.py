"""How often, how far apart, and after what an operation is tried again. A value: who decides is `core.operations`."""

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.errors import DefinitionError


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
        if self.max_attempts < 1 or self.first_delay_s < 0 or self.factor < 1 or self.max_delay_s < self.first_delay_s:
            raise DefinitionError(
                f"{self}: max_attempts must be 1 or more, first_delay_s 0 or more, factor 1 or more, "
                f"and max_delay_s not below first_delay_s"
            )
        if self.attempt_timeout_s is not None and self.attempt_timeout_s <= 0:
            raise DefinitionError(f"{self}: attempt_timeout_s must be more than 0 (None: no limit)")

    def delay_s(self, attempts: int, jitter: float) -> float:
        """Seconds to wait after `attempts` attempts; `jitter` is in [0, 1)."""
        # The exponent is capped: 2.0 ** 1024 is an OverflowError, and for_ever gets there.
        return min(self.max_delay_s, self.first_delay_s * self.factor ** min(attempts - 1, 64)) * jitter


Retry.never = Retry(max_attempts=1)
Retry.for_ever = Retry(max_attempts=2**31 - 1)
