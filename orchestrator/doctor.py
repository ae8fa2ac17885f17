"""What `amends doctor` thinks of the facts: pure, so that every verdict has a test without a broken server.

`doctor_facts` asks both servers. A finding says what is so, why it hurts, and what to do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator import limits
from orchestrator.doctor_relay import Finding, Relay, judge_relay

RETENTION_MIN_S = 86_400
OLD_TRANSACTION_S = 300.0
SLOT_KEEPS_BYTES_MAX = 1024**3
WORKER_SILENT_S = limits.LEASE_S * 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A replication slot of this database."""

    name: str
    active: bool
    keeps_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Orchestrator:
    """What only the orchestrator's database has."""

    topic: str
    shards: int
    owned_shards: int
    workers: Mapping[str, float] = field(default_factory=dict)  # name -> seconds since its last beat
    parked: Mapping[str, int] = field(default_factory=dict)  # stuck and blocked sagas
    dead_letters: int = 0
    known_until: datetime | None = None  # before a restore that was noticed at `restored_at`
    restored_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """The facts of one database. `error`: it can't be reached, and nothing else is known."""

    where: str
    error: str = ""
    version: int = 0
    version_text: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    slots_used: int = 0
    slots: tuple[Slot, ...] = ()
    oldest_transaction_s: float = 0.0
    missing_revisions: tuple[str, ...] | None = None  # None: the schema is not there at all
    topics: Mapping[str, tuple[int, str | None]] = field(default_factory=dict)  # -> partitions, topic id
    outbox_rows: int = 0
    outbox_age_s: float = 0.0
    outbox_dead: int = 0
    relay: Relay = field(default_factory=Relay)
    orchestrator: Orchestrator | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kafka:
    """The facts of the cluster."""

    where: str
    error: str = ""
    broker: Mapping[str, str] = field(default_factory=dict)
    topics: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    partitions: Mapping[str, int] = field(default_factory=dict)
    topic_ids: Mapping[str, str] = field(default_factory=dict)


def judge(postgres: Postgres, kafka: Kafka | None) -> list[Finding]:
    """All findings, in the order in which to mend them."""
    findings = list(_server(postgres))
    if not postgres.error:
        findings += [*_tables(postgres), *_at_work(postgres)]
    if kafka is None:
        findings.append(Finding("warning", "Kafka", "not asked", "set KAFKA_BOOTSTRAP_SERVERS to have it looked at"))
        return findings
    findings += _broker(kafka)
    if not kafka.error and not postgres.error:
        for topic, (partitions, topic_id) in sorted(postgres.topics.items()):
            findings += _topic(topic, partitions, topic_id, kafka)
        findings += _shards(postgres, kafka)
    return findings


def _server(postgres: Postgres) -> Iterator[Finding]:
    subject = f"Postgres {postgres.where}"
    if postgres.error:
        yield Finding(
            "bad", subject, f"not reachable: {postgres.error}", "is DATABASE_URL right? `amends up` starts one here"
        )
        return
    if postgres.version < limits.POSTGRES_VERSION_MIN:
        yield Finding("bad", subject, f"version {postgres.version_text}", "use PostgreSQL 15 or later")
    else:
        yield Finding("ok", subject, f"version {postgres.version_text}")
    settings = postgres.settings
    if settings.get("wal_level") != "logical":
        yield Finding(
            "warning",
            "wal_level",
            f"is {settings.get('wal_level')}: the relay has nothing to follow and polls the outbox",
            "ALTER SYSTEM SET wal_level = 'logical', then restart Postgres",
        )
    for name in ("max_replication_slots", "max_wal_senders"):
        most, used = int(settings.get(name, "0")), postgres.slots_used
        if most <= used and settings.get("wal_level") == "logical" and not any(s.active for s in postgres.slots):
            yield Finding(
                "warning",
                name,
                f"is {most}, and {used} are in use: the relay of this database gets none and polls",
                f"ALTER SYSTEM SET {name} = {max(10, used + 5)}, then restart Postgres",
            )
    if settings.get("synchronous_commit") == "off":
        yield Finding(
            "bad",
            "synchronous_commit",
            "is off: a crash of Postgres forgets commits that were answered, while their messages have left",
            "ALTER SYSTEM SET synchronous_commit = 'on'; SELECT pg_reload_conf()",
        )
    if settings.get("fsync") == "off":
        yield Finding("bad", "fsync", "is off: a power cut loses the database", "only for tests: set it on elsewhere")
    yield from _held_back(postgres)


def _held_back(postgres: Postgres) -> Iterator[Finding]:
    for slot in postgres.slots:
        if not slot.active and slot.keeps_bytes > SLOT_KEEPS_BYTES_MAX:
            yield Finding(
                "bad",
                f"slot {slot.name}",
                f"nobody reads it and it keeps {slot.keeps_bytes // 1024**2:,} MiB of WAL: the disk fills up",
                f"start its relay, or SELECT pg_drop_replication_slot('{slot.name}')",
            )
    if postgres.oldest_transaction_s > OLD_TRANSACTION_S:
        yield Finding(
            "warning",
            "transactions",
            f"the oldest has been open for {postgres.oldest_transaction_s:,.0f} s: dead rows of the outbox pile up",
            "find it in pg_stat_activity by xact_start; set idle_in_transaction_session_timeout",
        )


def _tables(postgres: Postgres) -> Iterator[Finding]:
    if postgres.missing_revisions is None:
        yield Finding("bad", "tables", "the schema amends is not there", "run `amends migrate`")
    elif postgres.missing_revisions:
        missing = ", ".join(postgres.missing_revisions)
        yield Finding("bad", "tables", f"older than this code: {missing} is missing", "run `amends migrate`")
    else:
        yield Finding("ok", "tables", "as this code wants them")


def _at_work(postgres: Postgres) -> Iterator[Finding]:
    if postgres.missing_revisions is None:
        return
    yield from judge_relay(postgres.relay, postgres.outbox_rows, postgres.outbox_age_s)
    if postgres.outbox_dead:
        yield Finding(
            "bad",
            "outbox",
            f"{postgres.outbox_dead} rows that Kafka did not take, or that wait behind one",
            "look with `amends outbox dead`; mend the cause, then `amends outbox redrive --topic TOPIC`",
        )
    if (own := postgres.orchestrator) is None:
        return
    alive = sorted(name for name, silent_s in own.workers.items() if silent_s < WORKER_SILENT_S)
    if not alive:
        yield Finding("bad", "orchestrators", "none is alive: sagas stand still", "amends orchestrator shop.app:app")
    elif own.owned_shards < own.shards:
        text = f"{', '.join(alive)}; {own.shards - own.owned_shards} of {own.shards} shards have no owner"
        yield Finding("warning", "orchestrators", text, "wait a few seconds and look again; then read their logs")
    else:
        yield Finding("ok", "orchestrators", f"{', '.join(alive)}, {own.shards} shards")
    if own.restored_at is not None:
        yield Finding(
            "warning",
            "restore",
            f"Postgres went back (a backup, or a replica). What was committed here between {own.known_until} and "
            f"{own.restored_at} is lost, while services may have acted on it",
            "look for blocked sagas, and for events of that window; then "
            "UPDATE amends.installation SET restored_at = NULL",
        )
    for status, count in own.parked.items():
        if count:
            yield Finding("warning", "sagas", f"{count} {status}", "amends stuck")
    if own.dead_letters:
        yield Finding(
            "warning",
            "dead letters",
            f"{own.dead_letters} messages that nobody could take",
            "SELECT letter, topic, kind, saga_id, error FROM amends.dead_letters WHERE redriven_at IS NULL",
        )


def _broker(kafka: Kafka) -> Iterator[Finding]:
    subject = f"Kafka {kafka.where}"
    if kafka.error:
        yield Finding(
            "bad", subject, f"not reachable: {kafka.error}", "is KAFKA_BOOTSTRAP_SERVERS right? `amends up` starts one"
        )
        return
    if limits.KAFKA_SETTING_OF_3_7 not in kafka.broker:
        yield Finding("bad", subject, "older than 3.7", "use Kafka 3.7 or later")
    else:
        yield Finding("ok", subject, "3.7 or later")
    most = int(kafka.broker.get("message.max.bytes", limits.PAYLOAD_BYTES_MAX * 2))
    if most < limits.PAYLOAD_BYTES_MAX * 2:
        yield Finding(
            "bad",
            "message.max.bytes",
            f"is {most:,}: an undo with a command and its reply may be larger, and would park its saga",
            f"set it to {1024 * 1024 + 12:,} or more on the brokers",
        )


def _topic(topic: str, partitions: int, topic_id: str | None, kafka: Kafka) -> Iterator[Finding]:
    subject, settings = f"topic {topic}", kafka.topics.get(topic)
    if settings is None:
        yield Finding(
            "bad", subject, "is not in Kafka: what is written for it waits in the outbox", "run `amends migrate`"
        )
        return
    if kafka.partitions[topic] < partitions:
        text = f"has {kafka.partitions[topic]} partitions, this database believes {partitions}"
        yield Finding("bad", subject, text, f"add partitions up to {partitions}; was the topic made again?")
    if topic_id is not None and topic_id != kafka.topic_ids.get(topic):
        yield Finding(
            "warning", subject, "was made again since `amends migrate`: its messages are gone", "run `amends migrate`"
        )
    if settings.get("cleanup.policy", "delete") != "delete":
        yield Finding(
            "bad",
            subject,
            f"cleanup.policy is {settings['cleanup.policy']}: compaction removes all but the newest message of a saga",
            f"kafka-configs.sh --alter --topic {topic} --add-config cleanup.policy=delete",
        )
    retention_ms = int(settings.get("retention.ms", "-1"))
    if 0 <= retention_ms < RETENTION_MIN_S * 1000:
        yield Finding(
            "warning",
            subject,
            f"keeps messages for {retention_ms // 1000:,} s: whoever is down for longer misses some",
            f"retention.ms of {RETENTION_MIN_S * 1000} (a day) or more; a week is Kafka's default",
        )
    yield from _replicas(subject, settings)


def _replicas(subject: str, settings: Mapping[str, str]) -> Iterator[Finding]:
    replicas, insync = int(settings.get("replication.factor", "1")), int(settings.get("min.insync.replicas", "1"))
    if settings.get("unclean.leader.election.enable") == "true":
        yield Finding(
            "bad",
            subject,
            "unclean.leader.election.enable is true: acknowledged messages may vanish",
            "set it to false",
        )
    if replicas == 1:
        yield Finding(
            "warning", subject, "has one replica: its broker's disk is all there is", "3 replicas in production"
        )
    elif insync < 2:
        yield Finding(
            "warning",
            subject,
            f"has {replicas} replicas and min.insync.replicas {insync}: an ack may stand for one disk",
            "set min.insync.replicas to 2",
        )
    elif insync >= replicas:
        yield Finding(
            "warning",
            subject,
            f"min.insync.replicas {insync} of {replicas} replicas: one broker away, and nothing can be written",
            "one less than the replicas",
        )


def _shards(postgres: Postgres, kafka: Kafka) -> Iterator[Finding]:
    own = postgres.orchestrator
    if own is None or own.topic not in kafka.partitions:
        return
    found = kafka.partitions[own.topic]
    if found < own.shards:
        yield Finding(
            "bad",
            f"topic {own.topic}",
            f"has {found} partitions for {own.shards} shards",
            f"kafka-topics.sh --alter --topic {own.topic} --partitions {own.shards}",
        )
    elif found > own.shards:
        text = f"has {found} partitions, {found - own.shards} more than shards: they stay empty"
        yield Finding("warning", f"topic {own.topic}", text, "harmless")
    else:
        yield Finding("ok", f"topic {own.topic}", f"{found} partitions, one a shard")
