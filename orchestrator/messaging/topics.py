"""Names of topics, and that they exist.

A full name is the prefix of this installation and one of `sagas`, `<service>.commands` or an event topic, so that
several installations share a cluster. The partition counts are kept in Postgres (`amends.topics`), because whoever
writes an outbox row must fill in its partition without asking Kafka.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from orchestrator.contracts import Command, Event, Message
from orchestrator.errors import DefinitionError, DependencyError
from outbox_relay import topics as relay_topics

if TYPE_CHECKING:  # whoever only writes events needs no Kafka client
    from orchestrator.messaging.kafka_admin import Admin

TOPIC_CHARS_MAX = 249  # Kafka's own: a topic is a folder
PARTITIONS_DEFAULT = 4
PREFIX_VARIABLE = "AMENDS_TOPIC_PREFIX"

_LEGAL = re.compile(r"[A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Topics:
    """Full names under one prefix. Raises DefinitionError for a prefix that no topic can have."""

    prefix: str = ""

    def __post_init__(self) -> None:
        if not _LEGAL.fullmatch(self.prefix):
            raise DefinitionError(f"{PREFIX_VARIABLE}={self.prefix!r}: topics are made of a-z, A-Z, 0-9, '.', '_', '-'")

    @property
    def sagas(self) -> str:
        return self._full("sagas")

    def commands(self, service: str) -> str:
        """Where the participant `service` reads its commands."""
        return self._full(f"{service}.commands")

    def group(self, service: str) -> str:
        """The consumer group of the participant `service`."""
        return self.prefix + service

    def events(self, topic: str) -> str:
        """The full name of `class …(Event, topic="orders", …)`."""
        return self._full(topic)

    def _full(self, name: str) -> str:
        full = self.prefix + name
        if len(full) > TOPIC_CHARS_MAX:
            raise DefinitionError(
                f"topic {full!r} is longer than {TOPIC_CHARS_MAX} characters: shorten the prefix or the name"
            )
        return full

    def needed(
        self, types: Iterable[type[Message]], *, shards: int, partitions: int = PARTITIONS_DEFAULT
    ) -> dict[str, int]:
        """Topic -> partitions, for the saga shards and for the commands and events among `types`."""
        needed = {self.sagas: shards}
        for cls in types:
            if issubclass(cls, Command):
                needed[self.commands(cls.__service__)] = partitions
            elif issubclass(cls, Event):
                needed[self.events(cls.__topic__)] = partitions
        return needed


def topics_of_environment() -> Topics:
    """For `outbox.add(connection, event)` in a process without settings of ours. Everybody else passes Topics on."""
    return Topics(os.environ.get(PREFIX_VARIABLE, ""))


def ensure_topics(admin: "Admin", needed: Mapping[str, int]) -> dict[str, tuple[int, str]]:
    """Make what is missing; topic -> (partitions, topic id) as they are now. Blocks; raises DependencyError."""
    admin.refuse_old()
    admin.ensure_topics(needed)
    partitions, ids = admin.partitions(needed), admin.topic_ids(needed)
    for topic, wanted in needed.items():
        if partitions[topic] < wanted:
            raise DependencyError(
                f"topic {topic} has {partitions[topic]} partitions, {wanted} are needed; add them: "
                f"kafka-topics.sh --alter --topic {topic} --partitions {wanted}"
            )
    return {topic: (partitions[topic], ids[topic]) for topic in needed}


def register_topics(connection: psycopg.Connection[Any], found: Mapping[str, tuple[int, str]]) -> None:
    """Write them to `amends.topics` of a database that writes messages, in the caller's transaction."""
    known = {name: relay_topics.Topic(name, partitions, topic_id) for name, (partitions, topic_id) in found.items()}
    connection.execute(relay_topics.UPSERT, relay_topics.upsert_params(known))
