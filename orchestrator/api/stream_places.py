"""How many streams are open, and whose: a stream is no request that ends by itself."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from orchestrator.api import limits
from orchestrator.errors import AmendsError


class NoPlace(AmendsError):
    """There are as many streams as there may be."""


class Streams:
    """Of one API, on its loop."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def look_for_place(self, name: str) -> None:
        """Before one is opened for this caller. Raises NoPlace."""
        if self._open.total() >= limits.STREAMS_MAX or self._open[name] >= limits.STREAMS_PER_TOKEN_MAX:
            raise NoPlace

    @contextlib.contextmanager
    def place(self, name: str) -> Iterator[None]:
        """Taken as long as the stream is open."""
        self._open[name] += 1
        try:
            yield
        finally:
            self._open[name] -= 1
