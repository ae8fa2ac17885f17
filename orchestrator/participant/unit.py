"""One transaction over the inbox: the rows it holds, what changes in them, what goes out, and what begins after it.

Everything is gathered in memory and written at the end: one statement for the inbox, one for the outbox. What must not
begin before the commit (a call to the outside) is handed over after it.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from psycopg import pq

from orchestrator.contracts import Event
from orchestrator.errors import AmendsError
from orchestrator.participant import inbox
from orchestrator.participant.connection import InboxConnection, Lane
from orchestrator.participant.handling import Transaction, finish_session, published
from orchestrator.participant.inbox import Entry
from orchestrator.participant.inbox_states import Action, decide
from orchestrator.participant.inbox_states import Event as InboxEvent
from orchestrator.participant.service import Service
from outbox_relay import Row, table

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from orchestrator.participant.external import Call


_NO_LIMIT = nullcontext()


class TransactionSpoiled(AmendsError):
    """A statement of a handler failed, and the handler went on as if it had not."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: a statement failed and its error was swallowed, so Postgres refuses all that follows. Put what "
            f"may fail into a savepoint: async with tx.connection.transaction(): …"
        )


class Unit:
    """One transaction. `now`: the database's time under the locks; `anchor`: our monotonic time before it was asked."""

    def __init__(self, service: Service, lane: Lane, connection: InboxConnection) -> None:
        self.service = service
        self.connection = connection
        self.now = inbox.NO_TIME
        self.anchor = time.monotonic()
        self.calls: list[Call] = []
        self.new_events: dict[str, bool] = {}  # events that were not here yet -> whether they wait
        self.held_events: set[str] = set()
        self._lane = lane
        self._entries: dict[str, Entry] = {}
        self._stored: frozenset[str] = frozenset()  # keys that have a row, which is locked
        self._changed: dict[str, Entry] = {}
        self._rows: list[Row] = []

    async def lock(self, keys: Collection[str], settled: Mapping[str, datetime] = inbox.NOTHING_SETTLED) -> None:
        """Lock the rows of these keys, as far as there are any; those of `settled` are only settled."""
        self._hold(await inbox.lock(self.connection, keys, settled))

    async def lock_due(self, rows_max: int) -> list[Entry]:
        """Lock the rows that a scan has to look at."""
        self._hold(await inbox.due(self.connection, self.service.name, rows_max))
        return list(self._entries.values())

    def _hold(self, locked: inbox.Locked) -> None:
        self._entries, self.now = locked.entries, locked.now
        self._stored = frozenset(locked.entries)

    def find(self, key: str) -> Entry | None:
        """The row as it is now in this transaction; None if there is none."""
        return self._entries.get(key)

    def put(self, entry: Entry) -> Entry:
        """Change a row, or make one: it is inserted if it becomes more than `absent`."""
        self._entries[entry.key] = self._changed[entry.key] = entry
        return entry

    def decide(self, entry: Entry, event: InboxEvent, **changes: Any) -> tuple[Entry, Action]:
        """What the state machine says, and other changes; nothing is put yet. Raises InboxContradiction."""
        row, action = decide(entry.row, event)
        return replace(entry, row=row, **changes), action

    def send(self, *rows: Row) -> None:
        """Add to the outbox."""
        self._rows.extend(rows)

    def publish(self, events: Iterable[Event]) -> None:
        """Add what a handler published."""
        self._rows.extend(self.service.event_row(event) for event in events)

    @property
    def rows(self) -> Sequence[Row]:
        """What goes into the outbox."""
        return self._rows

    def begin(self, call: "Call") -> None:
        """Call out after the commit."""
        self.calls.append(call)

    def after(self, seconds: float) -> datetime:
        """A point in time by the database's clock."""
        return self.now + timedelta(seconds=seconds)

    async def run(
        self,
        function: "Callable[..., Coroutine[Any, Any, Any]]",
        *args: Any,
        key: str,
        attempt: int = 1,
        saga_id: str = "",
        expires_at: datetime | None = None,
        seconds_max: float | None = None,
    ) -> tuple[Any, Transaction[Any]]:
        """Run a function of the service inside this transaction: `function(*args, tx)`; what it returned, and its tx.

        Events that it published are added. Raises what it raises, TimeoutError, and TransactionSpoiled.
        """
        connection = self.connection
        tx = self.service.transaction(
            connection, self._lane.sessions, key=key, attempt=attempt, saga_id=saga_id, expires_at=expires_at
        )
        with _NO_LIMIT if seconds_max is None else self._lane.patience(seconds_max):
            connection.lent = True
            try:
                value = await function(*args, tx)
            except BaseException:
                await finish_session(tx, flush=False)
                raise
            else:
                await finish_session(tx, flush=True)
            finally:
                connection.lent = False
        if connection.pgconn.transaction_status != pq.TransactionStatus.INTRANS:
            raise TransactionSpoiled(getattr(function, "__qualname__", repr(function)))
        if events := published(tx):
            self.publish(events)
        return value, tx

    async def flush(self) -> None:
        """Write all that was gathered. Raises TopicUnknown and RowRefused for rows that could never leave."""
        params = table.insert_params(self._rows, self.service.topics.partitions) if self._rows else None
        new = [entry for key, entry in self._changed.items() if key not in self._stored and entry.state != "absent"]
        changed = [entry for key, entry in self._changed.items() if key in self._stored]
        if self.connection.piped:
            self.connection.about_to_commit()
        async with self.connection.pipeline():
            if new:
                await inbox.insert(self.connection, new)
            if changed:
                await inbox.store(self.connection, changed)
            if params is not None:
                await self.connection.execute(table.INSERT_MANY, params)
            await self.connection.end()
