"""Each of orchestrator, participant and relay loses its way to Postgres and to Kafka: cut, half open, slow.

One party at a time, so that nobody's reconnecting carries another. While its link is broken it does what it can; when
the link is whole again, sagas that began before, meanwhile and after all end, and the books add up.
"""

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from orchestrator import SyncClient
from orchestrator.local.stack import running_stack
from services.chaos.proxy import HOST, Link, Pace
from tests.deadlines import eventually
from tests.holes.shops import make_books
from tests.integration.engine import kit
from tests.integration.engine.kit import System
from tests.integration.engine.program import ledger, refused, transfer
from tests.integration.engine.test_takeover import check_books
from tests.servers import create_database

pytestmark = [pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(600)]

PARTIES = ("orchestrator", "participant", "relay")
SERVERS = ("postgres", "kafka")
PACE = Pace(latency_s=0.05, jitter_s=0.05, bytes_per_s=500_000)
BROKEN_S = {"cut": 1.0, "swallow": 2.0, "slow": 1.0}
SAGAS = 3  # of each kind, each time


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        listeners = [held.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


@dataclass
class Net:
    """The links (party, server), on a loop in a thread of its own."""

    links: Mapping[tuple[str, str], Link]
    loop: asyncio.AbstractEventLoop

    def run(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self.loop).result()

    async def broken(self, link: Link, how: str) -> None:
        """For a while."""
        match how:
            case "cut":
                link.cut()
            case "swallow":
                link.swallow()
            case _:
                link.slow(PACE)
        await asyncio.sleep(BROKEN_S[how])
        await link.restore()


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    pairs = [(party, server) for party in PARTIES for server in SERVERS]
    ports = free_ports(2 * len(pairs))
    yield Net({pair: Link(" - ".join(pair), ports.pop(), ports.pop()) for pair in pairs}, loop)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def whole(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """All three parties at work, each behind its links; the test itself is not."""
    kafka = [net.links[party, "kafka"] for party in PARTIES]
    with pytest.MonkeyPatch.context() as patch, ExitStack() as ending:
        for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"):
            patch.delenv(name, raising=False)
        patch.setenv("KAFKA_PROXIED", ",".join(f"{link._target_port}:{link.port}" for link in kafka))
        own: Path = tmp_path_factory.mktemp("links") / "var"
        stack = ending.enter_context(running_stack(own)).stack
        for (_, server), link in net.links.items():
            if server == "postgres":
                link._target_port = urlsplit(stack.database_url).port
            net.run(link.open())
            ending.callback(net.run, link.close())
        url = create_database(stack.database_url)
        system = ending.enter_context(kit.system(url, stack.kafka_bootstrap_servers, "own."))
        make_books(system)
        seen = {party: seen_by(party, system, net) for party in PARTIES}
        seen["relay"].relay()
        seen["participant"].participants([ledger])
        orchestrator = seen["orchestrator"].orchestrator_process()
        yield system
        assert not orchestrator.ended, "the orchestrator has died of it"


def seen_by(party: str, system: System, net: Net) -> System:
    """The same system by the addresses of one party; its errors and its end are the system's."""
    parts = urlsplit(system.url)
    url = urlunsplit(parts._replace(netloc=f"postgres@{HOST}:{net.links[party, 'postgres'].port}"))
    kafka = f"{HOST}:{net.links[party, 'kafka'].port}"
    settings = type(system.settings)(
        **{**system.settings.model_dump(), "database_url": url, "kafka_bootstrap_servers": kafka}
    )
    return System(settings, url, system.stack, system.errors)


class Traffic:
    """Some sagas that end well and some that are undone."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.ids: dict[str, str] = {}

    def start(self, name: str) -> None:
        with SyncClient(self._system.settings) as client:
            for n in range(SAGAS):
                for kind, end in ((transfer, "completed"), (refused, "failed")):
                    saga_id = f"{kind.name[0]}-{name}-{n}"
                    client.start(kind, saga_id, id=saga_id)
                    self.ids[saga_id] = end

    def check(self) -> None:
        assert self._system.ended(list(self.ids), 90) == self.ids
        check_books(self._system, {saga_id: 30 if end == "completed" else 0 for saga_id, end in self.ids.items()})


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("party", PARTIES)
def test_a_broken_link_costs_time_and_nothing_else(whole: System, net: Net, party: str, server: str) -> None:
    link, traffic = net.links[party, server], Traffic(whole)
    before = link.bytes_through
    for how in BROKEN_S:
        traffic.start(f"{party}-{server}-before-{how}")
        breaking = asyncio.run_coroutine_threadsafe(net.broken(link, how), net.loop)
        eventually(lambda: link.state != "open", 5, "the link is broken")
        traffic.start(f"{party}-{server}-while-{how}")
        breaking.result()
    traffic.start(f"{party}-{server}-after")
    traffic.check()
    assert link.bytes_through > before, "this party does not go through this link"


def test_nobody_gets_around_a_link(whole: System, net: Net) -> None:
    """A Kafka client that came by one link is told of no other way: behind a cut it reaches nobody."""
    from confluent_kafka.admin import AdminClient

    for party in PARTIES:
        link = net.links[party, "kafka"]
        brokers = AdminClient({"bootstrap.servers": f"{HOST}:{link.port}"}).list_topics(timeout=30).brokers.values()
        assert {(broker.host, broker.port) for broker in brokers} == {(HOST, link.port)}
