"""Each verdict of doctor, from facts alone; a sound installation has none that is bad."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.doctor import Kafka, Orchestrator, Postgres, Slot, judge
from orchestrator.doctor_relay import Finding, Relay

ORCHESTRATOR = Orchestrator(topic="sagas", shards=8, owned_shards=8, workers={"host-1": 0.2})
SETTINGS = {
    "wal_level": "logical",
    "max_replication_slots": "10",
    "max_wal_senders": "10",
    "synchronous_commit": "on",
    "fsync": "on",
}
RELAY = Relay(beat_s=0.3, state="streaming", state_s=60.0, wanted="cdc", slot="live")
POLLS = replace(RELAY, state="polling", slot="making the slot")
GONE = "slot amends_relay_5 is gone"
POSTGRES = Postgres(
    where="h",
    version=180_004,
    version_text="18.4",
    settings=SETTINGS,
    slots_used=1,
    slots=(Slot(name="a", active=True, keeps_bytes=0),),
    missing_revisions=(),
    topics={"sagas": (8, "id"), "payments.commands": (4, None)},
    relay=RELAY,
    orchestrator=ORCHESTRATOR,
)
TOPIC = {
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "min.insync.replicas": "2",
    "replication.factor": "3",
    "unclean.leader.election.enable": "false",
}
KAFKA = Kafka(
    where="k",
    broker={"group.coordinator.rebalance.protocols": "classic", "message.max.bytes": "1048588"},
    topics={"sagas": TOPIC, "payments.commands": TOPIC},
    partitions={"sagas": 8, "payments.commands": 4},
    topic_ids={"sagas": "id", "payments.commands": "other"},
)


def troubles(postgres: Postgres = POSTGRES, kafka: Kafka | None = KAFKA) -> list[Finding]:
    return [finding for finding in judge(postgres, kafka) if finding.level != "ok"]


def with_settings(**changed: str) -> Postgres:
    return replace(POSTGRES, settings={**SETTINGS, **changed})


def with_topic(**changed: str) -> Kafka:
    settings = {**TOPIC, **{name.replace("_", "."): value for name, value in changed.items()}}
    return replace(KAFKA, topics={"sagas": settings, "payments.commands": TOPIC})


def test_a_sound_installation_has_no_trouble() -> None:
    assert troubles() == []
    assert {finding.level for finding in judge(POSTGRES, KAFKA)} == {"ok"}


NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
ABOUT_POSTGRES = [
    (replace(POSTGRES, error="refused"), "bad", "not reachable: refused"),
    (replace(POSTGRES, version=140_000, version_text="14.1"), "bad", "version 14.1"),
    (with_settings(wal_level="replica"), "warning", "wal_level"),
    (with_settings(synchronous_commit="off"), "bad", "synchronous_commit"),
    (with_settings(fsync="off"), "bad", "fsync"),
    (replace(with_settings(max_replication_slots="4"), slots_used=4, slots=()), "warning", "max_replication_slots"),
    (replace(with_settings(max_wal_senders="4"), slots_used=4, slots=()), "warning", "max_wal_senders"),
    (replace(POSTGRES, slots=(Slot(name="x", active=False, keeps_bytes=5 * 1024**3),)), "bad", "5,120 MiB of WAL"),
    (replace(POSTGRES, oldest_transaction_s=900.0), "warning", "open for 900 s"),
    (replace(POSTGRES, missing_revisions=None, topics={}), "bad", "schema amends is not there"),
    (replace(POSTGRES, missing_revisions=("engine_0002",)), "bad", "engine_0002 is missing"),
    (replace(POSTGRES, relay=Relay()), "bad", "never ran"),
    (
        replace(POSTGRES, relay=replace(RELAY, beat_s=60.0), outbox_rows=3, outbox_age_s=50.0),
        "bad",
        "silent for 60 s; 3 rows wait",
    ),
    (replace(POSTGRES, relay=POLLS), "warning", "polling for 60 s, though cdc is wanted, and its stream says: making"),
    (replace(POSTGRES, relay=replace(RELAY, trouble=(GONE, 90.0))), "warning", f"90 s ago: {GONE}"),
    (replace(POSTGRES, outbox_rows=3, outbox_age_s=50.0), "warning", "the oldest for 50 s"),
    (replace(POSTGRES, outbox_dead=2), "bad", "2 rows that Kafka did not take"),
    (replace(POSTGRES, orchestrator=replace(ORCHESTRATOR, workers={"host-1": 60.0})), "bad", "none is alive"),
    (replace(POSTGRES, orchestrator=replace(ORCHESTRATOR, owned_shards=6)), "warning", "2 of 8 shards have no owner"),
    (replace(POSTGRES, orchestrator=replace(ORCHESTRATOR, parked={"stuck": 3})), "warning", "3 stuck"),
    (
        replace(POSTGRES, orchestrator=replace(ORCHESTRATOR, known_until=NOON, restored_at=NOON + timedelta(hours=1))),
        "warning",
        "between 2026-11-25 12:00:00+00:00 and 2026-11-25 13:00:00+00:00 is lost",
    ),
    (replace(POSTGRES, orchestrator=replace(ORCHESTRATOR, dead_letters=1)), "warning", "1 messages that nobody"),
]
ABOUT_KAFKA = [
    (None, "warning", "not asked"),
    (replace(KAFKA, error="no broker"), "bad", "not reachable: no broker"),
    (replace(KAFKA, broker={"message.max.bytes": "1048588"}), "bad", "older than 3.7"),
    (replace(KAFKA, broker={**KAFKA.broker, "message.max.bytes": "65536"}), "bad", "is 65,536"),
    (replace(KAFKA, topics={"sagas": TOPIC}), "bad", "is not in Kafka"),
    (
        replace(KAFKA, partitions={"sagas": 8, "payments.commands": 2}),
        "bad",
        "has 2 partitions, this database believes 4",
    ),
    (replace(KAFKA, partitions={"sagas": 9, "payments.commands": 4}), "warning", "1 more than shards"),
    (replace(KAFKA, topic_ids={"sagas": "another"}), "warning", "was made again"),
    (with_topic(cleanup_policy="compact"), "bad", "compaction removes"),
    (with_topic(retention_ms="60000"), "warning", "keeps messages for 60 s"),
    (with_topic(unclean_leader_election_enable="true"), "bad", "acknowledged messages may vanish"),
    (with_topic(replication_factor="1"), "warning", "has one replica"),
    (with_topic(min_insync_replicas="1"), "warning", "an ack may stand for one disk"),
    (with_topic(min_insync_replicas="3"), "warning", "one broker away, and nothing can be written"),
]


@pytest.mark.parametrize(("postgres", "level", "said"), ABOUT_POSTGRES, ids=[said for _, _, said in ABOUT_POSTGRES])
def test_troubles_of_postgres(postgres: Postgres, level: str, said: str) -> None:
    [finding] = troubles(postgres)
    assert finding.level == level
    assert said in f"{finding.subject}: {finding.text}"
    assert finding.todo


@pytest.mark.parametrize(("kafka", "level", "said"), ABOUT_KAFKA, ids=[said for _, _, said in ABOUT_KAFKA])
def test_troubles_of_kafka(kafka: Kafka | None, level: str, said: str) -> None:
    [finding] = troubles(kafka=kafka)
    assert finding.level == level
    assert said in finding.text
    assert finding.todo


def test_retention_without_end_is_no_trouble() -> None:
    assert troubles(kafka=with_topic(retention_ms="-1")) == []


def test_fewer_partitions_than_shards_is_said_once_for_each_reader() -> None:
    kafka = replace(KAFKA, partitions={"sagas": 4, "payments.commands": 4})
    assert [finding.level for finding in troubles(kafka=kafka)] == ["bad", "bad"]
