"""Everything that a person would ask first when something stands still, as lines of text."""

import asyncio
from collections.abc import AsyncIterator
from typing import LiteralString

import psycopg

from services.chaos.progress import Watcher
from services.chaos.schedule import OURS, SERVICES
from services.chaos.shop import Place

STATE_PATIENCE_S = 10.0
LOG_LINES_SHOWN = 4
LINE_CHARS_MAX = 220

SAGAS: LiteralString = "SELECT status, count(*) FROM amends.sagas GROUP BY status ORDER BY status"
OPEN: LiteralString = """
    SELECT id, shard, status, (SELECT max(pos) FROM amends.journal j WHERE j.saga_no = s.saga_no)
    FROM amends.sagas s WHERE ended_at IS NULL ORDER BY saga_no LIMIT 10
"""
SHARDS: LiteralString = """
    SELECT s.shard, s.epoch, s.batch_no, s.next_offset, w.pid
    FROM amends.shards s LEFT JOIN amends.workers w USING (worker) ORDER BY s.shard
"""
OUTBOX: LiteralString = "SELECT count(*), min(seq), max(seq) FROM amends.outbox"
RELAY: LiteralString = "SELECT epoch, name, holder IS NOT NULL, state, health::text FROM amends.relay_lease"
INBOX: LiteralString = "SELECT state, count(*) FROM amends.inbox GROUP BY state ORDER BY state"


async def state(place: Place, watcher: Watcher) -> list[str]:
    """What can be found out within some seconds."""
    found: list[str] = []
    try:
        async with asyncio.timeout(STATE_PATIENCE_S):
            async for line in told(place, watcher):
                found.append(line[:LINE_CHARS_MAX])  # noqa: PERF401  # what was found before an error counts
    except (TimeoutError, psycopg.Error) as error:
        found.append(f"no more could be asked: {error!r}")
    return [*found, *logged(place)]


async def told(place: Place, watcher: Watcher) -> AsyncIterator[str]:
    """First what needs no database."""
    for name in OURS:
        running = place.shop.is_running(name)
        yield f"{name}: " + (f"runs as {place.shop.pid(name)}" if running else "does not run")
    for name, wrong in place.network.not_open().items():
        yield f"link {name}: {wrong}"
    yield f"sagas: {await watcher.ask('orchestrator', SAGAS)}"
    for row in await watcher.ask("orchestrator", OPEN):
        yield f"saga {row[0]}: shard {row[1]}, {row[2]}, position {row[3]}"
    for row in await watcher.ask("orchestrator", SHARDS):
        yield f"shard {row[0]}: epoch {row[1]}, batch {row[2]}, offset {row[3]}, owned by {row[4]}"
    for name in ("orchestrator", *SERVICES):
        yield f"outbox of {name}: {await watcher.ask(name, OUTBOX)}; relay: {await watcher.ask(name, RELAY)}"
    for name in SERVICES:
        yield f"inbox of {name}: {await watcher.ask(name, INBOX)}"


def logged(place: Place) -> list[str]:
    """The last lines of each log."""
    lines: list[str] = []
    for path in sorted((place.world.folder / "log").glob("*.log")):
        last = path.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        lines.extend(f"{path.name}: {line}"[:LINE_CHARS_MAX] for line in last)
    return lines
