"""A link does to its connections what it says, and is an ordinary link again afterwards."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest

from services.chaos.proxy import HOST, Link, Pace
from tests.deadlines import deadline

Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


@asynccontextmanager
async def echo_behind(*, forgets: bool = False) -> AsyncIterator[tuple[Link, list[bytes]]]:
    """A server that answers what it hears, and a link before it."""
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1024):
                heard.append(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, HOST, 0)
    link = Link("a - b", free_port(), server.sockets[0].getsockname()[1], forgets=forgets)
    await link.open()
    try:
        yield link, heard
    finally:
        await link.close()
        server.close()


async def connected(link: Link) -> Opened:
    return await asyncio.open_connection(HOST, link.port)


async def said(opened: Opened, text: bytes = b"hello") -> bytes:
    reader, writer = opened
    writer.write(text)
    return await soon(reader.readexactly(len(text)))


async def soon(answer: Awaitable[bytes]) -> bytes:
    return await asyncio.wait_for(answer, deadline(5))


async def silent(reader: asyncio.StreamReader) -> bool:
    try:
        await asyncio.wait_for(reader.read(1), 0.15)
    except TimeoutError:
        return True
    return False


async def test_an_open_link_passes_everything_on() -> None:
    async with echo_behind() as (link, _):
        opened = await connected(link)
        assert await said(opened) == b"hello"
        large = bytes(range(256)) * 1_000
        opened[1].write(large)
        assert await soon(opened[0].readexactly(len(large))) == large
        assert link.bytes_through == 2 * (5 + len(large))
        opened[1].write_eof()
        assert await soon(opened[0].read()) == b""  # the server heard of it, and hung up


async def test_a_server_that_is_away_is_a_connection_that_ends() -> None:
    link = Link("a - b", free_port(), free_port())
    await link.open()
    reader, writer = await connected(link)
    with suppress(ConnectionResetError):
        assert await soon(reader.read()) == b""
    writer.close()
    await link.close()


async def test_a_cut_resets_connections_refuses_new_ones_and_heals() -> None:
    async with echo_behind() as (link, _):
        opened = await connected(link)
        await said(opened)
        link.cut()
        with pytest.raises(ConnectionResetError):
            await soon(opened[0].readexactly(1))
        with pytest.raises(ConnectionRefusedError):
            await connected(link)
        await link.restore()
        assert await said(await connected(link)) == b"hello"


async def test_what_is_swallowed_goes_on_where_it_stopped() -> None:
    async with echo_behind() as (link, heard):
        old = await connected(link)
        await said(old)
        link.swallow()
        old[1].write(b"later")
        new = await connected(link)  # taken
        new[1].write(b"new")
        assert await silent(old[0])
        assert await silent(new[0])
        assert heard == [b"hello"]
        await link.restore()
        assert await soon(old[0].readexactly(5)) == b"later"
        assert await soon(new[0].readexactly(3)) == b"new"


async def test_a_side_that_leaves_meanwhile_is_missed_only_afterwards() -> None:
    async with echo_behind() as (link, _):
        opened = await connected(link)
        await said(opened)
        link.swallow()
        opened[1].transport.abort()
        await asyncio.sleep(0.1)
        assert len(link._serving) == 1
        await link.restore()
        async with asyncio.timeout(deadline(5)):
            while link._serving:
                await asyncio.sleep(0.01)


async def test_a_link_that_forgets_resets_what_it_swallowed() -> None:
    async with echo_behind(forgets=True) as (link, heard):
        old = await connected(link)
        await said(old)
        link.swallow()
        old[1].write(b"forgotten")
        new = await connected(link)
        new[1].write(b"forgotten too")
        await asyncio.sleep(0.1)
        await link.restore()
        for reader, _ in (old, new):
            with pytest.raises(ConnectionResetError):
                await soon(reader.readexactly(1))
        assert await said(await connected(link)) == b"hello"
        assert heard == [b"hello", b"hello"]


async def test_a_slow_link_takes_its_time() -> None:
    async with echo_behind() as (link, _):
        opened = await connected(link)
        link.slow(Pace(latency_s=0.1, jitter_s=0, bytes_per_s=1_000_000))
        began_s = time.monotonic()
        assert await said(opened) == b"hello"
        assert time.monotonic() - began_s >= 0.2  # there and back
        await link.restore()
        assert link.state == "open"


@pytest.mark.parametrize(
    ("size_bytes", "expected_s"), [(0, 0.05), (500_000, 1.05)], ids=["nothing", "as much as a second carries"]
)
def test_a_pace_is_latency_and_bandwidth(size_bytes: int, expected_s: float) -> None:
    assert Pace(0.05, 0, 500_000).delay_s(size_bytes, Random(1)) == pytest.approx(expected_s)


def test_the_jitter_is_above_the_latency() -> None:
    dice = Random(1)
    delays = [Pace(0.05, 0.2, 500_000).delay_s(0, dice) for _ in range(1_000)]
    assert 0.05 <= min(delays) < 0.06
    assert 0.24 < max(delays) <= 0.25
