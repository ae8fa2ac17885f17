"""Topics: make, describe, delete; and what the brokers are set to. Every call BLOCKS, CALL_TIMEOUT_S at most."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
    TopicDescription,
)

from orchestrator import limits
from orchestrator.errors import DependencyError
from orchestrator.messaging.acls import Acl
from orchestrator.messaging.kafka_errors import MISSING, Denied, Mapped, NoAuthorizer, dependency_error, reason_of
from outbox_relay.kafka_log import sparing_logger

CALL_TIMEOUT_S = 10.0
CONNECTION: dict[str, Any] = {
    "socket.nagle.disable": True,
    "reconnect.backoff.max.ms": 1_000,  # the default of 10 s would be added to every restart of a broker
    "topic.metadata.refresh.interval.ms": 30_000,
}
LOG = sparing_logger("amends.kafka")

_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]

_ANY: Any = None  # a filter's "whatever"; the client's annotations want a str
_EVERY_ACL = AclBindingFilter(
    ResourceType.ANY, _ANY, ResourcePatternType.LITERAL, _ANY, _ANY, AclOperation.ANY, AclPermissionType.ALLOW
)


class Admin:
    """What may be asked of the cluster, and done to its topics."""

    def __init__(self, bootstrap: str, login: Mapping[str, str] | None = None) -> None:
        self._bootstrap = bootstrap
        self._client = AdminClient(CONNECTION | {"bootstrap.servers": bootstrap} | dict(login or {}), logger=LOG)

    def ensure_topics(self, topics: Mapping[str, int]) -> None:
        """Make what is missing, with so many partitions, and wait until all have leaders. Raises DependencyError."""
        missing = topics.keys() - self._described(topics).keys()
        new = [NewTopic(topic, num_partitions=topics[topic], replication_factor=-1) for topic in sorted(missing)]
        if not new:
            return
        for topic, future in self._client.create_topics(new, request_timeout=CALL_TIMEOUT_S).items():
            self._result(future, f"making topic {topic}", KafkaError.TOPIC_ALREADY_EXISTS)
        self._wait_for("have leaders", lambda: self._with_leaders(topics) >= topics.keys())

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """The id of each topic that exists: a topic that was deleted and made again has another one."""
        return {topic: str(found.topic_id) for topic, found in self._described(topics).items()}

    def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """How many partitions each topic has that exists."""
        return {topic: len(found.partitions) for topic, found in self._described(topics).items()}

    def found(self, topics: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Id and number of partitions of each topic that exists."""
        return {topic: (str(one.topic_id), len(one.partitions)) for topic, one in self._described(topics).items()}

    def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """The offset that the next message of each partition will get, as the brokers say now: one request for all.

        One partition that is not there costs the answer for all.
        """
        wanted = {TopicPartition(topic, partition): _LATEST for partition in partitions}
        if not wanted:
            return {}
        asked = self._client.list_offsets(
            wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=CALL_TIMEOUT_S
        )
        found = {place.partition: self._result(future, f"the ends of {topic}") for place, future in asked.items()}
        return {partition: result.offset for partition, result in found.items()}

    def delete_topics(self, topics: Iterable[str]) -> None:
        """Those that exist, and wait until they are gone."""
        existing = list(self._described(topics))
        if not existing:
            return
        for topic, future in self._client.delete_topics(existing, request_timeout=CALL_TIMEOUT_S).items():
            self._result(future, f"deleting topic {topic}", *MISSING)
        self._wait_for("be gone", lambda: not self._described(existing))

    def allow(self, acls: Sequence[Acl]) -> list[Acl] | None:
        """Add those that are missing, and return them; None: the brokers have no authorizer, and enforce nothing."""
        bindings = {_binding(acl): acl for acl in acls}
        try:
            asked = self._client.describe_acls(_EVERY_ACL, request_timeout=CALL_TIMEOUT_S)
            there = set(self._result(asked, "reading the ACLs"))
            missing = [binding for binding in bindings if binding not in there]
            made = self._client.create_acls(missing, request_timeout=CALL_TIMEOUT_S) if missing else {}
            for binding, future in made.items():
                self._result(future, f"allowing {bindings[binding]}")
        except NoAuthorizer:
            return None
        return [bindings[binding] for binding in missing]

    def broker_settings(self) -> dict[str, str]:
        """The settings of one broker, for `amends doctor`. Raises DependencyError, also where they may not be read."""
        with Mapped(f"Kafka at {self._bootstrap}"):
            broker = next(iter(self._client.list_topics(timeout=CALL_TIMEOUT_S).brokers))
        resource = ConfigResource(ConfigResource.Type.BROKER, str(broker))
        asked = self._client.describe_configs([resource], request_timeout=CALL_TIMEOUT_S)
        settings = self._result(asked[resource], "reading the settings of the broker")
        return {name: entry.value for name, entry in settings.items() if entry.value is not None}

    def refuse_old(self) -> None:
        """Raise DependencyError for brokers that are too old. Whoever may not read their settings is not told."""
        try:
            settings = self.broker_settings()
        except Denied:
            return
        if limits.KAFKA_SETTING_OF_3_7 not in settings:
            raise DependencyError(f"Kafka at {self._bootstrap} is older than 3.7; use 3.7 or later")

    def topic_settings(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """The settings of each topic that exists, and its `replication.factor` beside them; for `amends doctor`."""
        found = self._described(topics)
        resources = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in found]
        if not resources:
            return {}
        settings: dict[str, dict[str, str]] = {}
        for resource, future in self._client.describe_configs(resources, request_timeout=CALL_TIMEOUT_S).items():
            entries = self._result(future, f"reading the settings of topic {resource.name}")
            replicas = min(len(partition.replicas) for partition in found[resource.name].partitions)
            given = {name: entry.value for name, entry in entries.items() if entry.value is not None}
            settings[resource.name] = given | {"replication.factor": str(replicas)}
        return settings

    def _described(self, topics: Iterable[str]) -> dict[str, TopicDescription]:
        names = list(topics)
        if not names:
            return {}
        asked = self._client.describe_topics(TopicCollection(names), request_timeout=CALL_TIMEOUT_S)
        found = {topic: self._result(future, f"topic {topic}", *MISSING) for topic, future in asked.items()}
        return {topic: description for topic, description in found.items() if description is not None}

    def _with_leaders(self, topics: Mapping[str, int]) -> set[str]:
        return {
            topic
            for topic, found in self._described(topics).items()
            if all(partition.leader is not None for partition in found.partitions)
        }

    def _wait_for(self, what: str, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + CALL_TIMEOUT_S
        while not is_so():
            if time.monotonic() > deadline:
                raise DependencyError(f"Kafka at {self._bootstrap}: topics did not {what} within {CALL_TIMEOUT_S:g} s")
            time.sleep(0.02)

    def _result(self, future: Any, what: str, *allowed: int) -> Any:
        """None for the errors that are `allowed`."""
        # Not `result()`: the future keeps the error, whose traceback would keep this frame, and with it the client and
        # its threads, until Python's collector comes by.
        error = future.exception()
        if error is None:
            return future.result()
        if not isinstance(error, KafkaException):
            raise error
        if reason_of(error).code() in allowed:
            return None
        raise dependency_error(reason_of(error), f"{what} at {self._bootstrap}")


def _binding(acl: Acl) -> AclBinding:
    return AclBinding(
        ResourceType[acl.resource],
        acl.name,
        ResourcePatternType.LITERAL,
        acl.principal,
        "*",
        AclOperation[acl.operation],
        AclPermissionType.ALLOW,
    )
