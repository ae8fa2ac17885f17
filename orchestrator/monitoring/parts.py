"""What a process consists of, as the listener sees it: an orchestrator, participants, relays, or all of them."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from orchestrator.monitoring import metrics
from orchestrator.monitoring.figures import Outbox
from orchestrator.monitoring.metrics import Distribution, Sample


class Part(Protocol):
    """Everything but `start` and `stop` is called on the listener's thread and must not wait. Times are monotonic."""

    @property
    def title(self) -> str:
        """Begins its reasons: `participant payments`."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def tick(self, now_s: float) -> None:
        """About once a second."""

    def samples(self) -> Iterable[Sample | Distribution]: ...
    def not_ready(self, now_s: float, /) -> Iterable[str]:
        """Why it does not do its work; nothing: it does."""

    def broken(self, now_s: float, /) -> Iterable[str]:
        """Why it will never work again; nothing: it works, or will when others do."""


def outbox_samples(database: str, found: Outbox | None, failures: int) -> Iterator[Sample]:
    """Of a database, from whoever is connected to it."""
    yield Sample(metrics.LOOKS_FAILED, failures, (database,))
    if found is not None:
        yield Sample(metrics.OUTBOX_ROWS, found.rows, (database,))
        yield Sample(metrics.OUTBOX_AGE, found.age_s, (database,))
        yield Sample(metrics.OUTBOX_DEAD, found.dead, (database,))
