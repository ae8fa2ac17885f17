"""Who listens, and what each has not been told yet.

A listener keeps the names of what has changed, not the changes: one that reads slowly gets fewer and newer patches, and
nothing piles up behind it.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager

from services.floor.limits import HEARTBEAT_S, READ_S, STREAMS_MAX
from services.floor.picture import Event, Part, Picture


class Listener:
    """One open stream."""

    def __init__(self) -> None:
        self._changed: set[Part] = set()
        self._is_changed = asyncio.Event()

    def tell(self, parts: Iterable[Part]) -> None:
        """Something has changed."""
        self._changed.update(parts)
        if self._changed:
            self._is_changed.set()

    def forget(self) -> None:
        """It is told all anew."""
        self._changed.clear()
        self._is_changed.clear()

    async def changed(self) -> set[Part]:
        """What has changed since the last time; empty after HEARTBEAT_S without any."""
        try:
            await asyncio.wait_for(self._is_changed.wait(), HEARTBEAT_S)
        except TimeoutError:
            return set()
        self._is_changed.clear()
        changed, self._changed = self._changed, set()
        return changed


class Listeners:
    """All of them."""

    def __init__(self) -> None:
        self._listening: set[Listener] = set()
        self._somebody = asyncio.Event()
        self._last_left_s = time.monotonic()

    @property
    def are_many(self) -> bool:
        """No more are taken."""
        return len(self._listening) >= STREAMS_MAX

    def unwatched_s(self) -> float:
        """For how long nobody has listened."""
        return 0.0 if self._listening else time.monotonic() - self._last_left_s

    @contextmanager
    def one_more(self) -> Iterator[Listener]:
        """Listens while the block runs."""
        listener = Listener()
        self._listening.add(listener)
        self._somebody.set()
        try:
            yield listener
        finally:
            self._listening.discard(listener)
            if not self._listening:
                self._somebody.clear()
                self._last_left_s = time.monotonic()

    def tell(self, parts: Iterable[Part]) -> None:
        """Something has changed, for all."""
        told = list(parts)
        for listener in self._listening:
            listener.tell(told)

    async def somebody(self) -> None:
        """Return as soon as somebody listens."""
        await self._somebody.wait()


async def stream(listener: Listener, picture: Picture) -> AsyncIterator[bytes]:
    """The bytes of one stream of server-sent events, without an end."""
    listener.forget()
    yield _frame(picture.all())
    while True:
        frames = [_frame(event) for event in picture.patches(await listener.changed())]
        yield b"".join(frames) or b":\n\n"
        await asyncio.sleep(READ_S)  # what else changes meanwhile comes together


def _frame(event: Event) -> bytes:
    name, data = event
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
