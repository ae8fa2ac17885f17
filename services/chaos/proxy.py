"""One link of a network: a TCP proxy on the loopback interface, which cuts, swallows or slows what goes through it.

    link = Link("orchestrator-1 - kafka", port=21001, target_port=21002)
    await link.open()
    link.cut()        every connection is reset, new ones are refused
    link.swallow()    connections stay, new ones are taken, and nothing goes through: half open
    link.slow(pace)   everything goes through, later
    await link.restore()

What was swallowed goes on where it stopped, as over a network whose packets were lost for a while and sent again. With
`forgets` it is gone, and the connections are reset: a request must not come to a server minutes after it was given up.
"""

import asyncio
import socket
import struct
from dataclasses import dataclass
from random import Random
from typing import Literal

HOST = "127.0.0.1"
CHUNK_BYTES_MAX = 64 * 1024  # one delay a chunk: a window of this size on a line with such a delay
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST

State = Literal["open", "cut", "swallowed", "slow"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How slow: each chunk waits `latency_s` and up to `jitter_s` more, and takes its time by the bandwidth."""

    latency_s: float
    jitter_s: float
    bytes_per_s: float

    def delay_s(self, size_bytes: int, dice: Random) -> float:
        """For one chunk."""
        return self.latency_s + dice.random() * self.jitter_s + size_bytes / self.bytes_per_s


class Link:
    """One way from some clients to one server."""

    def __init__(self, name: str, port: int, target_port: int, *, forgets: bool = False, seed: int = 0) -> None:
        self.name = name
        self.port = port
        self.state: State = "open"
        self.bytes_through = 0
        self._target_port = target_port
        self._forgets = forgets
        self._dice = Random(f"{seed}:{name}")
        self._pace: Pace | None = None
        self._gate = asyncio.Event()
        self._gate.set()
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen. Raises OSError if somebody has the port."""
        self._server = await asyncio.start_server(self._accept, HOST, self.port)

    async def close(self) -> None:
        """End it for good."""
        self._stop_listening()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection and refuse new ones."""
        self.state = "cut"
        self._stop_listening()
        self._reset_all()

    def swallow(self) -> None:
        """Let nothing through, without a word to either side."""
        self.state = "swallowed"
        self._gate.clear()

    def slow(self, pace: Pace) -> None:
        """Let everything through, later."""
        self.state = "slow"
        self._pace = pace

    async def restore(self) -> None:
        """Be an ordinary link again."""
        if self.state == "swallowed" and self._forgets:
            self._reset_all()
        self.state, self._pace = "open", None
        self._gate.set()
        if self._server is None:
            await self.open()

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _reset_all(self) -> None:
        for end in self._ends:
            reset(end)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self._ends.add(writer)
        try:
            await self._serve(reader, writer)
        except OSError:
            pass  # One side is gone; the other hears of it as soon as the line lets it.
        finally:
            self._serving.discard(task)
            self._ends.discard(writer)
            reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._gate.wait()
        if writer.is_closing():
            return
        answers, asking = await asyncio.open_connection(HOST, self._target_port)
        self._ends.add(asking)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, asking))
                pumps.create_task(self._pump(answers, writer))
        except* OSError:
            await self._gate.wait()
        finally:
            self._ends.discard(asking)
            reset(asking)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Until the source says that nothing more comes, which is passed on like all else."""
        while True:
            data = await source.read(CHUNK_BYTES_MAX)
            await self._gate.wait()
            if self._pace is not None:
                await asyncio.sleep(self._pace.delay_s(len(data), self._dice))
                await self._gate.wait()
            if not data or sink.is_closing():
                break
            self.bytes_through += len(data)
            sink.write(data)
            await sink.drain()
        if not sink.is_closing():
            sink.write_eof()


def reset(end: asyncio.StreamWriter) -> None:
    """Close it with a RST, whatever is on the way; nothing happens if it is closed already."""
    if not end.is_closing():
        end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    end.transport.abort()
