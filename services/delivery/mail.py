"""The mail server: another company's too, spoken to over SMTP. It keeps what it gets, for people and tests to read.

    python -m services.delivery.mail --box var/mail.sqlite --port 2525

As good mailboxes do, it shows one mail once: a Message-ID that comes again is counted, and not kept a second time.
"""

import argparse
import asyncio
import email
import email.policy
import sqlite3
import time
from pathlib import Path
from typing import LiteralString

from aiosmtpd.smtp import SMTP, Envelope, Session

from orchestrator.local.keeper import on_stop_signals

HOST = "127.0.0.1"
MAIL_BYTES_MAX = 256 * 1024
ORDER_HEADER = "X-Order-Id"

TABLE: LiteralString = """
CREATE TABLE IF NOT EXISTS mails (
    message_id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    text TEXT NOT NULL,
    at REAL NOT NULL,
    times INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX IF NOT EXISTS mails_order ON mails (order_id);
"""
KEEP: LiteralString = """
INSERT INTO mails (message_id, order_id, recipient, subject, text, at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (message_id) DO UPDATE SET times = times + 1
"""


class Mailbox:
    """Every mail, in SQLite."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(TABLE)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's
        """Keep it, then say so."""
        assert isinstance(envelope.content, bytes)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        if not mail["Message-ID"]:
            return "550 a mail without Message-ID could not be told from its own copy"
        body = mail.get_body(("plain",))
        text = body.get_content().replace("\r\n", "\n") if body is not None else ""
        to, subject = ", ".join(envelope.rcpt_tos), str(mail["Subject"])
        self._db.execute(KEEP, (mail["Message-ID"], mail[ORDER_HEADER] or "", to, subject, text, time.time()))
        return "250 kept"

    def close(self) -> None:
        """Close the file."""
        self._db.close()


async def serve(path: Path, port: int) -> None:
    """Until SIGTERM."""
    box, stop = Mailbox(path), asyncio.Event()
    loop = asyncio.get_running_loop()
    on_stop_signals(loop, stop.set)
    server = await loop.create_server(
        lambda: SMTP(box, data_size_limit=MAIL_BYTES_MAX, enable_SMTPUTF8=True, hostname="mail.example"), HOST, port
    )
    async with server:
        await stop.wait()
    box.close()


def main() -> None:
    """Listen on the loopback interface."""
    parser = argparse.ArgumentParser(prog="python -m services.delivery.mail", description=__doc__)
    parser.add_argument("--box", type=Path, required=True, help="the SQLite file of all mail")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.box, arguments.port))


if __name__ == "__main__":
    main()
