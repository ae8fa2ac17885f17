"""Table amends.relay_slot, and the replication slot: how it is called and made, how it is doing, what is wrong with it.

It is only a doorbell. If it is lost or invalidated it is dropped and made again, and the table is read: nothing hangs
on what it remembered. But a slot that is lost says that something happened to the server, so it is noted and told.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString, Protocol

from psycopg import sql

from outbox_relay.failpoints import failpoint
from outbox_relay.postgres import Session

EXTERNAL = "amends_outbox"  # of whoever sends in the relay's place, unless it is told another name
# Slots are of the whole cluster, so each database has its own name for its one.
NAME: LiteralString = "SELECT 'amends_relay_' || oid FROM pg_database WHERE datname = current_database()"
STATUS: LiteralString = """
    SELECT active_pid, coalesce(wal_status, 'lost'), confirmed_flush_lsn - '0/0'::pg_lsn,
        coalesce(pg_current_wal_lsn() - restart_lsn, 0)::bigint
    FROM pg_replication_slots WHERE slot_name = %s AND database = current_database()
"""
IN_A_SLOTS_NAME: LiteralString = "SELECT regexp_replace(lower(current_database()), '[^a-z0-9_]', '_', 'g')"
NOTED: LiteralString = "SELECT name, origin, lost, lost_at FROM amends.relay_slot"
NOTE: LiteralString = "UPDATE amends.relay_slot SET name = %s, origin = %s WHERE one"
NOTE_TROUBLE: LiteralString = "UPDATE amends.relay_slot SET lost = %s, lost_at = now() WHERE one"
DROP: LiteralString = """
    SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s AND NOT active
"""
END_READER: LiteralString = """
    SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s AND active
"""


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """A slot as Postgres sees it. `retained_bytes`: the WAL that is kept because of it."""

    active_pid: int | None
    lost: bool
    confirmed: int
    retained_bytes: int


@dataclass(frozen=True, slots=True)
class Noted:
    """What the database remembers of its slot. `name` None: there should be none. `lost`: what was wrong last."""

    name: str | None
    origin: str | None
    lost: str | None = None
    lost_at: datetime | None = None


class Replication(Protocol):
    """A replication connection that can run a command."""

    def command(self, text: str) -> list[tuple[str | None, ...]]: ...


def name_of(session: Session) -> str:
    """The name of this database's slot."""
    return str(session.execute(NAME).fetchall()[0][0])


def name_for(session: Session, template: str) -> str:
    """A name in which `{database}` stands for this database's, in small letters, with _ for what no slot may have."""
    [(database,)] = session.execute(IN_A_SLOTS_NAME).fetchall()
    return template.replace("{database}", str(database))


def status(session: Session, name: str) -> SlotStatus | None:
    """How the slot is; None: there is none, or it is another database's, which says nothing of what was sent here."""
    found: tuple[Any, ...] | None = session.execute(STATUS, (name,)).fetchone()
    if found is None:
        return None
    return SlotStatus(found[0], found[1] == "lost", int(found[2] or 0), int(found[3]))


def noted(session: Session) -> Noted:
    """What this database remembers of its slot."""
    return Noted(*session.execute(NOTED).fetchall()[0])


def note(session: Session, name: str | None, origin: str | None) -> None:
    """Remember the slot that was made, or that there is to be none."""
    failpoint("relay.slot_note.before")
    session.execute(NOTE, (name, origin))
    failpoint("relay.slot_note.after")


def note_trouble(session: Session, why: str) -> None:
    """Remember what was wrong, for people: it stays after it has been mended."""
    failpoint("relay.slot_trouble.before")
    session.execute(NOTE_TROUBLE, (why,))
    failpoint("relay.slot_trouble.after")


def why_lost(before: Noted, found: SlotStatus | None, name: str, origin: str, wal: int) -> str | None:
    """Tell what is wrong with the slot; None: nothing. `origin` and `wal` are the server's as it is now. Pure."""
    if found is not None and found.lost:
        return f"slot {name} was invalidated: Postgres keeps no more WAL for it (max_slot_wal_keep_size)"
    if before.name is not None and before.name != name:
        return f"this database is a copy: its slot was {before.name}, and would be {name} here"
    if before.name is not None and before.origin != origin:
        return f"Postgres is another one, or has gone back: system id/timeline {origin}, was {before.origin}"
    if before.name is not None and found is None:
        return f"slot {name} is gone: somebody dropped it, or a backup was restored"
    if found is not None and found.confirmed > wal:
        return f"slot {name} is of another time: confirmed up to {format_lsn(found.confirmed)}, WAL {format_lsn(wal)}"
    return None


def server(replication: Replication) -> tuple[str, int]:
    """Where this connection leads: system id/timeline, and where its WAL is."""
    [(system, timeline, wal, _database)] = replication.command("IDENTIFY_SYSTEM")
    assert wal is not None
    return f"{system}/{timeline}", parse_lsn(wal)


def create(replication: Replication, name: str) -> int:
    """Make it over the replication protocol; return its first LSN: it tells what is committed from there on.

    Blocks until every transaction that was running in the whole cluster has ended, while polling goes on.
    No exported snapshot: it would show rows that polling has sent and deleted meanwhile.
    """
    quoted = sql.Identifier(name).as_string(None)
    failpoint("relay.slot.before")
    [(_name, point, _snapshot, _plugin)] = replication.command(
        f"CREATE_REPLICATION_SLOT {quoted} LOGICAL pgoutput (SNAPSHOT 'nothing')"
    )
    failpoint("relay.slot.after")
    assert point is not None
    return parse_lsn(point)


def drop(session: Session, name: str | None = None) -> bool:
    """Drop this database's slot: no WAL is kept for it any more. False: there is none, or somebody reads it."""
    failpoint("relay.slot_drop.before")
    dropped = session.execute(DROP, (name or name_of(session),)).rowcount == 1
    failpoint("relay.slot_drop.after")
    return dropped


def parse_lsn(text: str) -> int:
    """`16/B374D848` as a number."""
    high, low = text.split("/")
    return (int(high, 16) << 32) | int(low, 16)


def format_lsn(lsn: int) -> str:
    """A number as `16/B374D848`."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
