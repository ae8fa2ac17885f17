"""Customers of a stream live through a provider that talks nonsense, and a book that can't be read."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.floor import customers as module
from services.floor.customers import Customers, NothingToAnswer, ProviderAway
from services.gateway.book import Book
from services.gateway.payments import Payments
from tests.deadlines import deadline, eventually_async


@contextlib.asynccontextmanager
async def provider(status: str, body: str, asked: asyncio.Event | None = None) -> AsyncIterator[str]:
    """A server that always answers this."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if asked is not None:
            asked.set()
        head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body.encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """With one payment that waits."""
    path = tmp_path / "gateway.sqlite"
    with contextlib.closing(Book(path).connection) as connection:
        Payments(connection).create("key-1", "order-1", "4242", 4_500)
    return path


@pytest.mark.parametrize(
    ("status", "body"), [("503 Service Unavailable", "overloaded"), ("500 Internal Server Error", ""), ("404 x", "{}")]
)
async def test_what_no_provider_should_say_is_a_provider_that_is_away(book: Path, status: str, body: str) -> None:
    async with provider(status, body) as url:
        customers = Customers(url, book)
        with pytest.raises(ProviderAway, match=f"{status[:3]}.*Look before it is repeated"):
            await customers.answer("order-1", "pay")
        await customers.close()


async def test_its_reason_is_handed_on(book: Path) -> None:
    async with provider("409 Conflict", '{"reason": "it is paid"}') as url:
        customers = Customers(url, book)
        with pytest.raises(NothingToAnswer, match="it is paid"):
            await customers.answer("order-1", "pay")
        await customers.close()


async def test_a_book_that_can_not_be_read_is_read_again(
    book: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CUSTOMERS_READ_S", 0.01)
    good, bad = book.rename(book.with_suffix(".good")), book
    bad.write_bytes(b"this is no database, and longer than a hundred bytes" * 10)
    asked = asyncio.Event()
    async with provider("200 OK", '{"state": "paid"}', asked) as url:
        customers = Customers(url, book)
        customers.expect("order-1", "pays")
        running = asyncio.create_task(customers.run())

        async def is_said() -> bool:
            return "can't be read" in caplog.text

        await eventually_async(is_said, 10, "it says that the book can't be read")
        good.replace(bad)
        async with asyncio.timeout(deadline(15)):
            await asked.wait()
        running.cancel()
        await customers.close()
