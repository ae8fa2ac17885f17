"""The service `email`: writes to the customer what becomes of the order. It listens, and no saga knows of it.

Each event is handled once (the inbox remembers its id), but a mail is sent outside of any transaction: who dies after
the mail server has taken it and before the inbox has noted that sends it again. Nothing can prevent that from here; it
can only be recognised, so the Message-ID is made of the event's id, and both copies have the same.
"""

import asyncio
import os
import smtplib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage

from orchestrator import Failure, Handling, Participant, Transient
from services.contracts import OrderCancelled, OrderDelivered, OrderPaid, OrderPlaced
from services.delivery.mail import ORDER_HEADER

SENDER = "orders@shop.example"
CUSTOMERS_DOMAIN = "customers.example"  # a shop has an address book; ours is a rule
SMTP_TIMEOUT_S = 5.0
AGAIN_S = 2.0
MAILS_AT_ONCE = 4
PERMANENT_FROM = 500  # SMTP's word for: the same mail will never be taken


class MailRefused(Failure):
    order_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Deps:
    host: str
    port: int


@asynccontextmanager
async def mail_server() -> AsyncGenerator[Deps]:
    """Where mail is handed in: MAIL_HOST (this machine) and MAIL_PORT."""
    yield Deps(os.environ.get("MAIL_HOST", "127.0.0.1"), int(os.environ["MAIL_PORT"]))


email = Participant("email", lifespan=mail_server)


@email.on(OrderPlaced, effect="external", timeout_s=SMTP_TIMEOUT_S + 1, concurrency=MAILS_AT_ONCE)
async def placed(event: OrderPlaced, ctx: Handling[Deps]) -> None:
    text = f"We have your order over RM {event.total}. The kitchen begins when it is paid."
    await send(ctx, event.order_id, event.customer, "is placed", text)


@email.on(OrderPaid, effect="external", timeout_s=SMTP_TIMEOUT_S + 1, concurrency=MAILS_AT_ONCE)
async def paid(event: OrderPaid, ctx: Handling[Deps]) -> None:
    text = f"Thank you: your RM {event.total} have arrived. Your receipt is being made."
    await send(ctx, event.order_id, event.customer, "is paid", text)


@email.on(OrderDelivered, effect="external", timeout_s=SMTP_TIMEOUT_S + 1, concurrency=MAILS_AT_ONCE)
async def delivered(event: OrderDelivered, ctx: Handling[Deps]) -> None:
    await send(ctx, event.order_id, event.customer, "is on its way", f"Follow it: {event.tracking}.")


@email.on(OrderCancelled, effect="external", timeout_s=SMTP_TIMEOUT_S + 1, concurrency=MAILS_AT_ONCE)
async def cancelled(event: OrderCancelled, ctx: Handling[Deps]) -> None:
    text = "We could not go through with it. What you have paid, if you have, goes back to you."
    await send(ctx, event.order_id, event.customer, "is cancelled", text)


async def send(ctx: Handling[Deps], order_id: str, customer: str, what: str, text: str) -> None:
    """Hand it in. While the server is away it is tried again for as long as it takes, in order for each order."""
    mail = EmailMessage()
    mail["From"], mail["To"] = SENDER, address_of(customer)
    mail["Subject"] = f"Order {order_id} {what}"
    mail["Message-ID"] = f"<{ctx.key}@shop.example>"
    mail[ORDER_HEADER] = order_id
    mail.set_content(f"Dear {customer},\n\n{text}\n")
    try:
        async with asyncio.timeout(SMTP_TIMEOUT_S):
            await asyncio.to_thread(hand_in, mail, ctx.deps)
    except smtplib.SMTPResponseException as error:
        if error.smtp_code >= PERMANENT_FROM:
            # The same mail will never be taken: it is parked for a person, out of the way of what comes next.
            raise MailRefused(order_id=order_id, reason=str(error)) from error
        raise Transient(f"the mail server says not now: {error}", retry_after_s=AGAIN_S) from error
    except (OSError, smtplib.SMTPException) as error:
        raise Transient(f"the mail server is away: {error!r}", retry_after_s=AGAIN_S) from error


def hand_in(mail: EmailMessage, to: Deps) -> None:
    """Over SMTP; blocks. A refused recipient counts as a refused mail: there is only one."""
    with smtplib.SMTP(to.host, to.port, timeout=SMTP_TIMEOUT_S) as server:
        try:
            server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as refused:
            code, text = next(iter(refused.recipients.values()))
            raise smtplib.SMTPResponseException(code, text) from refused


def address_of(customer: str) -> str:
    """The customer's, or a made-up one of a customer who only gave a name."""
    name = "".join(c for c in customer.lower().replace(" ", ".") if c.isascii() and (c.isalnum() or c == "."))
    return customer if "@" in customer else f"{name.strip('.') or 'customer'}@{CUSTOMERS_DOMAIN}"
