"""What every part of a running participant shares: its declaration, its dependencies, its topics, its breakers."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.contracts import Command, Event, messages
from orchestrator.messaging.events import event_row
from orchestrator.messaging.topics import Topics as TopicNames
from orchestrator.participant import spans
from orchestrator.participant.breaker import SharedBreaker
from orchestrator.participant.connection import InboxConnection, Lane, SessionMaker
from orchestrator.participant.counts import Counts
from orchestrator.participant.handlers import External, Participant
from orchestrator.participant.handling import Handling, Transaction
from outbox_relay import Row, topics
from outbox_relay.errors import TopicUnknown

LOG = logging.getLogger("amends.participant")


class Topics:
    """Table amends.topics in memory: how many partitions each topic has, as far as this database knows."""

    def __init__(self) -> None:
        self._partitions: dict[str, int] = {}

    def partitions(self, topic: str) -> int:
        """Raises TopicUnknown."""
        try:
            return self._partitions[topic]
        except KeyError:
            raise TopicUnknown(topic) from None

    async def refresh(self, lane: Lane) -> None:
        """Read the table; a relay and `amends migrate` keep it."""
        self._partitions = {topic: count for topic, count, _ in await lane.execute(topics.SELECT)}


@dataclass(slots=True)
class Service:
    """One participant in this process."""

    participant: Participant[Any]
    topics_named: TopicNames = field(default_factory=TopicNames)
    deps: Any = None
    topics: Topics = field(default_factory=Topics)
    counts: Counts = field(default_factory=Counts)
    breaker_of: Callable[[External], SharedBreaker | None] = lambda _options: None

    @property
    def name(self) -> str:
        return self.participant.name

    @property
    def command_topic(self) -> str:
        return self.topics_named.commands(self.name)

    @property
    def event_topics(self) -> frozenset[str]:
        """Full names of the topics whose events this participant follows."""
        handlers = self.participant.event_handlers.values()
        return frozenset(self.topics_named.events(handler.event.__topic__) for handler in handlers)

    @property
    def topics_read(self) -> frozenset[str]:
        """Full names of all that it reads: nobody can command a participant that only listens."""
        commands = (cls for cls in messages().values() if issubclass(cls, Command))
        only_listens = self.participant.event_handlers and not self.participant.handlers
        if only_listens and all(cls.__service__ != self.name for cls in commands):
            return self.event_topics
        return self.event_topics | {self.command_topic}

    def handling(self, *, key: str, attempt: int, saga_id: str, expires_at: datetime | None) -> Handling[Any]:
        """For a call out."""
        return Handling(key=key, attempt=attempt, saga_id=saga_id, expires_at=expires_at, deps=self.deps)

    def transaction(
        self,
        connection: InboxConnection,
        sessions: SessionMaker,
        *,
        key: str,
        attempt: int = 1,
        saga_id: str = "",
        expires_at: datetime | None = None,
    ) -> Transaction[Any]:
        """For a handler inside the inbox's transaction."""
        return Transaction(
            key=key,
            connection=connection,
            sessions=sessions,
            attempt=attempt,
            saga_id=saga_id,
            expires_at=expires_at,
            deps=self.deps,
        )

    def event_row(self, event: Event) -> Row:
        """The outbox row of a published event, in the current trace."""
        return event_row(event, topics=self.topics_named, traceparent=spans.traceparent())
