"""A small HTTP server on a thread of its own. Everything about a request is bounded: its size, its time, and how many
there are at once; it is answered from what lies in memory, and then the connection is closed.
"""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.errors import DependencyError

log = logging.getLogger("orchestrator.monitoring")

REQUESTS_MAX = 8  # at once: a scraper, two probes, and somebody who looks
HEAD_BYTES_MAX = 8 * 1024  # of the request line and the headers; a body is never read
REQUEST_S = 5.0  # from the first byte of a connection to the last of its answer
LINGER_S = 0.5  # for a client that still sends: closed at once, it might not read why
LINGER_BYTES_MAX = 256 * 1024
TICK_S = 1.0
STOP_S = 2.0

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the client."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(status: int, content: object) -> Answer:
    """The content as JSON."""
    body = json.dumps(content, ensure_ascii=False).encode() + b"\n"
    return Answer(status, body, "application/json")


def text_answer(status: int, text: str, **headers: str) -> Answer:
    """One line of text."""
    return Answer(status, f"{text}\n".encode(), headers=headers)


Page = Callable[[str], Answer]
"""Makes the answer; its argument is the Accept header. Runs on the listener's thread and must not wait."""


class Listener:
    """`pages` by path. `tick` is called about once a second on the same thread."""

    def __init__(self, host: str, port: int, pages: Mapping[str, Page], tick: Callable[[], None]) -> None:
        """Raises DependencyError if the port can't be had, so that nothing begins that would not be seen."""
        self._pages, self._tick = pages, tick
        self._open = 0
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family, backlog=REQUESTS_MAX)
        except OSError as error:
            raise DependencyError(
                f"AMENDS_METRICS_PORT: can't listen on {host}:{port} ({error.strerror or error}). Nothing was started. "
                f"Name another port, or 0 for none"
            ) from error
        self.port = int(self._socket.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="amends-metrics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End it; a request that is under way is cut off."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except Exception:
            log.exception("the listener for /metrics has ended; the work goes on without it")
        finally:
            self._socket.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, sock=self._socket, limit=HEAD_BYTES_MAX)
        async with server:
            while not self._stop.is_set():
                self._tick()
                try:
                    await asyncio.wait_for(self._stop.wait(), TICK_S)
                except TimeoutError:
                    continue

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            async with asyncio.timeout(REQUEST_S):
                if self._open > REQUESTS_MAX:
                    answer = text_answer(503, f"more than {REQUESTS_MAX} requests at once")
                else:
                    answer = await self._answer(reader)
                _write(writer, answer)
                await writer.drain()
                await _linger(reader, writer)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
            log.debug("a client of /metrics went away, or was too slow: %r", error)
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return text_answer(431, f"request line and headers are more than {HEAD_BYTES_MAX} bytes")
        line, _, rest = head.decode("latin-1").partition("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return text_answer(400, "not a request of HTTP/1")
        page = self._pages.get(words[1].partition("?")[0])
        if page is None:
            return text_answer(404, f"there is {', '.join(self._pages)}")
        if words[0] != "GET":
            return text_answer(405, "GET only", Allow="GET")
        try:
            return page(_header(rest, "accept"))
        except Exception:
            log.exception("%s could not be answered", words[1])
            return text_answer(500, "an error of ours: see the log")


def _header(head: str, name: str) -> str:
    """Its value, or an empty text."""
    for line in head.split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return ""


def _write(writer: asyncio.StreamWriter, answer: Answer) -> None:
    headers = {
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        "Cache-Control": "no-store",
        "Connection": "close",
        **answer.headers,
    }
    lines = [f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}", *(f"{k}: {v}" for k, v in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body)


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read what a client still sends, within bounds: a connection that is closed with something unread is reset."""
    if writer.can_write_eof():
        writer.write_eof()
    read_bytes = 0
    try:
        async with asyncio.timeout(LINGER_S):
            while read_bytes < LINGER_BYTES_MAX and (part := await reader.read(HEAD_BYTES_MAX)):
                read_bytes += len(part)
    except TimeoutError:
        return
