"""A topic that is missing, has fewer partitions than recorded, or was deleted and made anew."""

import asyncio
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from orchestrator import DependencyError, SyncClient
from orchestrator.contracts import messages
from orchestrator.doctor import judge
from orchestrator.doctor_facts import kafka_facts, postgres_facts
from orchestrator.messaging import outgoing
from orchestrator.messaging.kafka_admin import Admin
from orchestrator.migrations.migrate import migrate
from orchestrator.participant.runner import Runner
from outbox_relay import dead
from outbox_relay.postgres import connect
from tests.bad_input import program
from tests.bad_input.program import Go, quiet, till, two_payments
from tests.bad_input.world import World, headers_of, produce
from tests.deadlines import deadline
from tests.integration.engine import kit
from tests.integration.engine.kit import _RunnerSettings


def delete(world: World, topic: str) -> None:
    Admin(world.system.settings.kafka_bootstrap_servers).delete_topics([topic])


def make(world: World, topic: str, partitions: int = 1) -> None:
    Admin(world.system.settings.kafka_bootstrap_servers).ensure_topics({topic: partitions})


def doctor(world: World) -> str:
    postgres = postgres_facts(world.system.settings)
    return "\n".join(map(str, judge(postgres, kafka_facts(world.system.settings, sorted(postgres.topics)))))


def test_without_the_topic_of_sagas_nothing_is_lost_and_migrate_makes_it(
    empty_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world = empty_world
    delete(world, world.topics.sagas)
    world.system.relay()
    world.system.orchestrator(program.app.sagas)
    world.client.start(quiet, 0.01, id="early")
    world.eventually(lambda: f"topic {world.topics.sagas} does not exist: type `amends migrate`" in caplog.text, "why")
    assert "is not in Kafka" in doctor(world)
    assert world.status("early") == "queued"
    settings = world.system.settings
    migrate(
        world.system.url,
        topic_prefix=settings.topic_prefix,
        topics=world.topics.needed(messages().values(), shards=1, partitions=1),
        kafka_bootstrap_servers=settings.kafka_bootstrap_servers,
    )
    assert world.client.result(quiet, "early", timeout=deadline(60)) == "awake"
    world.others_go_on()


def test_without_its_topic_a_participant_says_so_and_ends(empty_world: World) -> None:
    world = empty_world
    delete(world, world.topics.commands("till"))
    settings = world.system.settings
    used = _RunnerSettings(world.system.url, settings.kafka_bootstrap_servers, settings.topic_prefix)
    with pytest.raises(DependencyError, match=r"no topic .*till\.commands .* make it with `amends migrate`"):
        asyncio.run(Runner(till, used).run(asyncio.Event()))


def test_commands_to_a_topic_that_is_gone_wait_for_it_and_nobody_waits_for_them(world: World) -> None:
    world.neighbours_go_on()
    delete(world, world.topics.commands("till"))
    # A row that is sent before the relay knows of it may be told "no such partition" instead, and waits for a redrive.
    missed = "SELECT health -> 'topics_missing' FROM amends.relay_lease"
    world.eventually(lambda: world.system.rows(missed) == [([world.topics.commands("till")],)], "it is missed", 60)
    world.client.start(two_payments, "p", id="p")
    scopes = "SELECT scope FROM amends.outbox_dead"
    world.eventually(lambda: world.system.rows(scopes) == [("missing",)], "its command is put aside", 60)
    assert "rows that Kafka did not take" in doctor(world)
    world.others_go_on()
    make(world, world.topics.commands("till"))
    world.eventually(lambda: world.paid("p") == 1, "it goes out by itself, and is read", 60)
    assert world.system.rows(scopes) == []
    world.client.send("p", Go())
    assert world.client.result(two_payments, "p", timeout=deadline(60)) == 11


def test_a_topic_of_sagas_that_is_made_anew_costs_nothing_that_was_open(world: World) -> None:
    world.client.start(two_payments, "p", id="p")
    world.eventually(lambda: world.turns("p") == 2, "it waits for its message")
    garbage = outgoing.message_row(topic="-", shard=0, saga_id="p", wire_name="TillGo", body={"count": 1})
    first = produce(world, world.topics.sagas, b"garbage before", headers_of(garbage))
    world.eventually(lambda: first in world.letters(), "it is a dead letter")
    delete(world, world.topics.sagas)
    make(world, world.topics.sagas)
    world.neighbours_go_on(60)
    while (offset := produce(world, world.topics.sagas, b"garbage after", headers_of(garbage))) < first:
        pass
    world.client.send("p", Go())
    assert world.client.result(two_payments, "p", timeout=deadline(60)) == 11
    assert world.paid("p") == 11
    kept = world.system.rows('SELECT payload FROM amends.dead_letters WHERE "offset" = %s ORDER BY letter', first)
    assert bytes(kept[0][0]) == b"garbage before"
    assert offset != first or [bytes(one) for (one,) in kept] == [b"garbage before", b"garbage after"]


@pytest.fixture
def two_shards(database_url: str, kafka_bootstrap_servers: str, topic_prefix: str) -> Iterator[World]:
    """Without a relay."""
    with (
        kit.system(database_url, kafka_bootstrap_servers, topic_prefix, shards=2, partitions=1) as system,
        SyncClient(system.settings) as client,
    ):
        system.execute(program.TABLES)
        system.orchestrator(program.app.sagas)
        yield World(system, client)


def test_with_fewer_partitions_than_recorded_the_shards_that_are_there_go_on(
    two_shards: World, caplog: pytest.LogCaptureFixture
) -> None:
    world = two_shards
    stop_relay = world.system.relay()
    world.others_go_on(shard=0)
    world.others_go_on(shard=1)
    delete(world, world.topics.sagas)
    make(world, world.topics.sagas, partitions=1)
    world.others_go_on(shard=0, seconds=60)
    lost = next(f"lost-{n}" for n in range(100) if _shard(f"lost-{n}") == 1)
    world.client.start(quiet, 0.01, id=lost)
    world.eventually(lambda: "has 1 partitions, and none for the shards [1]" in caplog.text, "why", 60)
    for _ in range(5):
        world.others_go_on(shard=0)
    said = doctor(world)
    assert "has 1 partitions for 2 shards" in said
    assert world.status(lost) == "queued"
    settings = world.system.settings
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    admin.create_partitions([NewPartitions(world.topics.sagas, 2)])[world.topics.sagas].result()
    stop_relay()
    world.system.relay()
    with connect(world.system.url, "test") as session:

        def redriven() -> bool:
            """As `amends outbox redrive --topic` does."""
            dead.ask_redrive(session, world.topics.sagas)
            return world.status(lost) != "queued"

        world.eventually(redriven, "its start goes out", 90)
    assert world.client.result(quiet, lost, timeout=deadline(90)) == "awake"
    world.others_go_on(shard=1)


def _shard(saga_id: str) -> int:
    from orchestrator.client.requests import shard_of

    return shard_of(saga_id, 2)
