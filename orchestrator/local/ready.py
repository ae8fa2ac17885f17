"""Ask a service whether it serves: one connection, one question, no client library.

A port that accepts connections proves little: Postgres listens while it recovers, and Kafka before its broker is
registered. So each is asked something that it can only answer when it is ready for clients.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from orchestrator.local.compose_file import Ready

Ask = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[bool]]

TIMEOUT_S = 2.0

# StartupMessage of protocol 3.0. While the server starts it answers E (error 57P03); when it serves, R.
POSTGRES_PARAMETERS = b"user\0postgres\0database\0postgres\0\0"
POSTGRES_STARTUP = struct.pack(">ii", len(POSTGRES_PARAMETERS) + 8, 3 << 16) + POSTGRES_PARAMETERS
POSTGRES_TERMINATE = b"X\0\0\0\x04"

# Metadata request, version 4, for no topic. A broker that is not registered yet is missing in its own answer.
KAFKA_METADATA = struct.pack(">hhihi?", 3, 4, 1, -1, 0, False)


async def is_ready(ready: Ready) -> bool:
    """Ask once; False for every kind of no, also for no answer within TIMEOUT_S."""
    ask = {"postgres": _ask_postgres, "kafka": _ask_kafka, "tcp": _ask_nothing, "http": _ask_http}[ready.kind]
    try:
        return await asyncio.wait_for(_connected(ready, ask), TIMEOUT_S)
    except (OSError, TimeoutError, EOFError, struct.error):
        return False


async def _connected(ready: Ready, ask: Ask) -> bool:
    url = urlsplit(ready.target if ready.kind == "http" else f"//127.0.0.1:{ready.target}")
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    try:
        return await ask(reader, writer, url.path or "/")
    finally:
        writer.close()


async def _ask_postgres(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _path: str) -> bool:
    writer.write(POSTGRES_STARTUP)
    answer = await reader.readexactly(1)
    writer.write(POSTGRES_TERMINATE)
    return answer == b"R"


async def _ask_kafka(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _path: str) -> bool:
    writer.write(struct.pack(">i", len(KAFKA_METADATA)) + KAFKA_METADATA)
    _length, _correlation, _throttle_ms, brokers = struct.unpack(">iiii", await reader.readexactly(16))
    return bool(brokers > 0)


async def _ask_nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter, _path: str) -> bool:
    return True


async def _ask_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> bool:
    writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    status_line = await reader.readline()
    return status_line.split()[1:2] == [b"200"]
