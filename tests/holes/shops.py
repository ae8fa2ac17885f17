"""What several holes need: the ledger's tables, the payments' tables, and how to look at what was decided."""

from tests.integration.engine import program
from tests.integration.engine.kit import System
from tests.integration.participant.shop import TABLES


def make_books(system: System) -> None:
    _create(system, program.TABLES)


def make_shop(system: System) -> None:
    """For the payments of tests/integration/participant/shop.py."""
    _create(system, TABLES)


def _create(system: System, tables: str) -> None:
    for statement in tables.split(";"):
        if statement.strip():
            system.execute(statement)


def decided(system: System, op: str) -> int:
    """How many decisions of this kind all journals hold: `call`, `undo`, `child` ..."""
    [(count,)] = system.rows("SELECT count(*)::int FROM amends.journal_entries WHERE entry ->> 'op' = %s", op)
    return count


def balances(system: System) -> dict[str, int]:
    return dict(system.rows("SELECT account, sum(amount)::int FROM bookings GROUP BY account"))


def outbox_is_empty(system: System) -> bool:
    return system.rows("SELECT 1 FROM amends.outbox LIMIT 1") == []
