"""What customers get: mails over real SMTP, each shown once, and receipts that anybody's viewer can open."""

import asyncio
import smtplib
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from email.message import EmailMessage
from pathlib import Path

import pytest

from services.delivery.mail import HOST, ORDER_HEADER, serve
from services.delivery.mailer import Deps, address_of, hand_in
from services.delivery.receipt import Paid, pdf

PAID_AT = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
PAID = Paid("order-1", "Ada", Decimal("45.00"), PAID_AT)


@asynccontextmanager
async def mail_server(box: Path) -> AsyncIterator[Deps]:
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    serving = asyncio.create_task(serve(box, port))
    async with asyncio.timeout(10):
        while not box.exists() or not await listens(port):
            await asyncio.sleep(0.01)
    yield Deps(HOST, port)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


def mail(message_id: str | None) -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "orders@shop.example", "ada@customers.example", "Order ä is paid"
    made[ORDER_HEADER] = "order-1"
    if message_id:
        made["Message-ID"] = message_id
    made.set_content("Dear Adä\n")
    return made


def kept(box: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(box) as db:
        return db.execute("SELECT order_id, recipient, subject, text, times FROM mails ORDER BY at").fetchall()


async def test_a_mail_that_comes_twice_is_shown_once(tmp_path: Path) -> None:
    async with mail_server(tmp_path / "box") as server:
        for message_id in ("<e1@shop.example>", "<e2@shop.example>", "<e1@shop.example>"):
            await asyncio.to_thread(hand_in, mail(message_id), server)
    row = ("order-1", "ada@customers.example", "Order ä is paid", "Dear Adä\n")
    assert kept(tmp_path / "box") == [(*row, 2), (*row, 1)]


async def test_a_mail_that_could_not_be_told_from_its_copy_is_refused(tmp_path: Path) -> None:
    async with mail_server(tmp_path / "box") as server:
        with pytest.raises(smtplib.SMTPResponseException, match="Message-ID"):
            await asyncio.to_thread(hand_in, mail(None), server)
    assert kept(tmp_path / "box") == []


@pytest.mark.parametrize(
    ("customer", "address"),
    [
        ("Ada", "ada@customers.example"),
        ("Ada Lovelace", "ada.lovelace@customers.example"),
        ("ada@home.example", "ada@home.example"),
        ("阿達", "customer@customers.example"),
    ],
)
def test_everybody_has_an_address(customer: str, address: str) -> None:
    assert address_of(customer) == address


def test_a_receipt_is_a_pdf_and_the_same_one_each_time() -> None:
    first, second = (
        pdf(PAID),
        pdf(Paid("order-1", "Ada", Decimal("45.0"), PAID_AT.astimezone(timezone(timedelta(hours=8))))),
    )
    assert first[:5] == b"%PDF-"
    assert first == second
    assert pdf(Paid("order-2", "Ada", Decimal("45.00"), PAID_AT)) != first


def test_a_name_in_other_letters_gets_a_receipt_too() -> None:
    assert pdf(Paid("order-1", "阿達 Ünal " + "x" * 500, Decimal("45.00"), PAID_AT))[:5] == b"%PDF-"
