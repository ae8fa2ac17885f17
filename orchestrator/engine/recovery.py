"""Kafka lost what it had, or Postgres went back: notice it, and send again what is open.

Commands and undos come out of the journal (a replay knows what is open), starts out of the queued rows; what was
acknowledged and is nobody's to make again lies in outbox_sent, and the relay sends it again. All of it goes under the
old keys, so what had arrived after all is answered from the inbox.
"""

import logging
from collections.abc import Callable
from typing import Any, LiteralString

import psycopg

from orchestrator.core.blocked import Blocked
from orchestrator.core.registry import Registry
from orchestrator.core.replay import replay
from orchestrator.engine import fence, journal, sagas
from orchestrator.engine.installation import Witness, restored
from orchestrator.engine.outbound import Outbound
from orchestrator.failpoints import failpoint
from outbox_relay import table
from outbox_relay.rows import Row

log = logging.getLogger("orchestrator.engine.recovery")

PAGE = 500

RESTORED = "restored"  # in place of a topic id: whoever claims the shard sends again what is open

_RAISE_EPOCHS: LiteralString = """
    UPDATE amends.shards SET epoch = epoch + 1, owner = NULL, worker = NULL, topic_id = %s
"""


class Recovery:
    """Sends again what is open in a shard."""

    def __init__(self, registry: Registry, outbound: Outbound, partitions: Callable[[str], int]) -> None:
        self._registry, self._outbound, self._partitions = registry, outbound, partitions

    def send_again(
        self, connection: psycopg.Connection[Any], hold: fence.Hold, topic_id: str, from_offset: int
    ) -> None:
        """One transaction: the new topic id, the offset to read from, and all that is open once more."""
        log.error(
            "shard %s: the topic is another one, or does not reach to offset %s any more; everything open is sent "
            "again, and the topic is read from offset %s",
            hold.shard,
            hold.next_offset,
            from_offset,
        )
        sent = 0
        with connection.transaction():
            fence.set_topic(connection, hold, topic_id, from_offset)
            after = 0
            while page := sagas.open_in(connection, hold.shard, after, PAGE):
                rows = self._rows(connection, page)
                connection.execute(table.INSERT_MANY, table.insert_params(rows, self._partitions))
                after, sent = page[-1].saga_no, sent + len(rows)
            failpoint("engine.recover.before")
        failpoint("engine.recover.after")
        log.error("shard %s: %s messages are sent again", hold.shard, sent)

    def _rows(self, connection: psycopg.Connection[Any], page: list[sagas.SagaRow]) -> list[Row]:
        journals = journal.read(connection, [row.saga_no for row in page if row.status != "queued"])
        rows: list[Row] = []
        for saga in page:
            if saga.status == "queued":
                rows.append(self._outbound.start_again(saga))
            else:
                rows += self._open(saga, journals[saga.saga_no])
        return rows

    def _open(self, saga: sagas.SagaRow, turns: list[list[Any]]) -> list[Row]:
        saga_type = self._registry.get(saga.type, saga.version)
        if saga_type is None or not turns:
            return []
        try:
            live = replay(saga_type, saga.identity, turns)
        except Blocked as blocked:
            text = "saga %s can't be replayed, so what it waits for is not sent again: %s"
            log.warning(text, saga.id, blocked, extra=saga.identity.log_fields)
            return []
        rows = [row for decision in live.pending_sends() for row in self._outbound.rows(saga, decision)]
        live.evict()
        return rows


def notice_restore(connection: psycopg.Connection[Any], witness: Witness) -> None:
    """If Postgres is not the one we knew, nobody's hold counts any more. One transaction: it is noted and done."""
    with connection.transaction():
        if not restored(connection, witness):
            return
        connection.execute(_RAISE_EPOCHS, (RESTORED,))
        failpoint("engine.restored.before")
    failpoint("engine.restored.after")
    log.error(
        "this Postgres is not the one we knew (a backup was restored, or a replica took over): all shards get a new "
        "epoch, and what is open is sent again. What was committed since the backup was taken is lost here, while "
        "participants may know of it: their inboxes answer, or refuse with a conflict. `amends doctor` has the window"
    )
