"""The service `receipts`: makes a PDF of each paid order, by a job queue that may lose jobs, and finds what was lost.

    python -m services.delivery.receipts reconcile var/play.json     make the missing ones now, and say how many

(Without the file, which `make up` writes, in the database that DATABASE_URL names.)

Who has paid is heard as an event and kept in `payments_heard`, once, with the inbox. The PDF itself is a job of
procrastinate's, on the same Postgres: it takes CPU, it may be made a minute later, and nothing waits for it. A job that
was under way when its process died is lost, and that is allowed: what is missing can be seen from the tables, so
`reconcile` finds it by comparing, every minute and on command, whatever became of the job.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.schema import SchemaManager
from psycopg.rows import class_row
from sqlalchemy import LargeBinary, Numeric
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from orchestrator import Participant, Transaction
from services import tables
from services.contracts import OrderPaid
from services.delivery.receipt import Paid, pdf

QUEUE = "receipts"
JOBS_AT_ONCE = 2
JOB_CONNECTIONS_MAX = 4
EVERY_MINUTE = "* * * * *"
GRACE_S = 30.0  # so long may a job take before its receipt counts as missing
RECONCILED_MAX = 500  # in one go; the next minute finds the others
DRAIN_S = 5.0


class Base(DeclarativeBase):
    pass


class PaymentHeard(Base):
    """An order of which we know that it is paid, so that a receipt is due."""

    __tablename__ = "payments_heard"

    order_id: Mapped[str] = mapped_column(primary_key=True)
    customer: Mapped[str]
    total: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    paid_at: Mapped[tables.Now]


class Receipt(Base):
    """A receipt that was made. `made_by`: the queue, or whoever found that it was missing."""

    __tablename__ = "receipts"

    order_id: Mapped[str] = mapped_column(primary_key=True)
    pdf: Mapped[bytes] = mapped_column(LargeBinary)
    made_at: Mapped[tables.Now]
    made_by: Mapped[str]


MISSING: LiteralString = """
SELECT order_id, customer, total, paid_at FROM payments_heard
WHERE paid_at <= clock_timestamp() - make_interval(secs => %s)
    AND NOT EXISTS (SELECT FROM receipts WHERE receipts.order_id = payments_heard.order_id)
ORDER BY paid_at LIMIT %s
"""
# A receipt is made once: whoever comes second, a job or a reconciliation, finds it.
KEEP: LiteralString = "INSERT INTO receipts (order_id, pdf, made_by) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"


# ---- the jobs ----------------------------------------------------------------------------------------------------


def job_queue(database_url: str) -> App:
    """Procrastinate's app on the service's own database, with both jobs."""
    app = App(connector=PsycopgConnector(conninfo=database_url, min_size=1, max_size=JOB_CONNECTIONS_MAX))

    @app.task(name="make", queue=QUEUE)
    async def make(order_id: str, customer: str, total: str, paid_at: str) -> None:
        paid = Paid(order_id, customer, Decimal(total), datetime.fromisoformat(paid_at))
        await keep(database_url, paid, made_by="job")

    @app.periodic(cron=EVERY_MINUTE)
    @app.task(name="reconcile", queue=QUEUE, queueing_lock="reconcile")
    async def reconcile_each_minute(timestamp: int) -> None:
        await reconcile(database_url)

    return app


async def keep(database_url: str, paid: Paid, *, made_by: str) -> bool:
    """Make a receipt and keep it, on a connection of its own. Whether there was none yet."""
    made = await asyncio.to_thread(pdf, paid)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        kept = await connection.execute(KEEP, (paid.order_id, made, made_by))
        return kept.rowcount == 1


async def reconcile(database_url: str, grace_s: float = GRACE_S) -> int:
    """Make what is missing, and return how many there were."""
    async with await psycopg.AsyncConnection.connect(database_url, row_factory=class_row(Paid)) as connection:
        missing = await (await connection.execute(MISSING, (grace_s, RECONCILED_MAX))).fetchall()
    made = [await keep(database_url, paid, made_by="reconciliation") for paid in missing]
    print(f"receipts: {sum(made)} were missing, and are made", flush=True)
    return sum(made)


# ---- the participant ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Deps:
    jobs: App


@asynccontextmanager
async def working() -> AsyncGenerator[Deps]:
    """The queue, and a worker of it in this process. If the worker ends by an error, so does the process."""
    app = job_queue(os.environ["DATABASE_URL"])
    async with app.open_async(), asyncio.TaskGroup() as tasks:
        worker = tasks.create_task(
            app.run_worker_async(
                queues=[QUEUE],
                concurrency=JOBS_AT_ONCE,
                delete_jobs="successful",
                install_signal_handlers=False,
                shutdown_graceful_timeout=DRAIN_S,
            )
        )
        yield Deps(app)
        worker.cancel()


receipts = Participant("receipts", lifespan=working)


@receipts.on(OrderPaid)
async def paid(event: OrderPaid, tx: Transaction[Deps]) -> None:
    heard_at = datetime.now(UTC)
    tx.session.add(PaymentHeard(order_id=event.order_id, customer=event.customer, total=event.total, paid_at=heard_at))
    # On the queue's own connection, so outside of this transaction: a job may run before it, or be lost with it.
    # Neither matters, since the job knows all that it needs, and reconcile() asks the tables and not the queue.
    arguments: dict[str, Any] = {"customer": event.customer, "total": str(event.total), "paid_at": heard_at.isoformat()}
    with suppress(AlreadyEnqueued):
        try:
            task = tx.deps.jobs.configure_task("make", queue=QUEUE, queueing_lock=event.order_id)
            await task.defer_async(order_id=event.order_id, **arguments)
        except ConnectorException as error:
            tx.log.warning("no job for the receipt of %s: %s; reconcile will make it", event.order_id, error)


def create_tables(database_url: str) -> None:
    """The service's tables, and the queue's."""
    tables.create_tables(Base.metadata, database_url)
    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT to_regclass('procrastinate_jobs')").fetchone()
        if found == (None,):
            connection.execute(SchemaManager.get_schema().encode())


def main(arguments: list[str]) -> None:
    """The command. The service itself runs as `amends participant services.delivery.receipts:receipts`."""
    match arguments:
        case ["reconcile"]:
            database_url = os.environ["DATABASE_URL"]
        case ["reconcile", world]:
            database_url = json.loads(Path(world).read_text())["databases"]["receipts"]
        case _:
            print(__doc__, file=sys.stderr)
            sys.exit(2)
    asyncio.run(reconcile(database_url, grace_s=0.0))


if __name__ == "__main__":
    main(sys.argv[1:])
