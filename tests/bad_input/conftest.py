from collections.abc import Iterator

import pytest

from orchestrator import SyncClient
from tests.bad_input import program
from tests.bad_input.world import World
from tests.integration.engine import kit


@pytest.fixture
def empty_world(database_url: str, kafka_bootstrap_servers: str, topic_prefix: str) -> Iterator[World]:
    """One shard, one partition for each topic; nothing runs yet."""
    with (
        kit.system(database_url, kafka_bootstrap_servers, topic_prefix, shards=1, partitions=1) as system,
        SyncClient(system.settings) as client,
    ):
        system.execute(program.TABLES)
        yield World(system, client)


@pytest.fixture
def world(empty_world: World) -> World:
    """With relay, participant and one orchestrator at work. A test ends red if one of them ends by an error."""
    empty_world.system.relay()
    empty_world.system.participants([program.till])
    empty_world.system.orchestrator(program.app.sagas)
    return empty_world
