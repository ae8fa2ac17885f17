"""PostgreSQL 16, the older one at hand: the slot is made, followed, dropped, lost and made again there as on 18."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from orchestrator.local.postgres import choose_place, installed
from orchestrator.local.stack import Stack
from tests.deadlines import deadline, eventually
from tests.integration.relay.outboxes import Place, Writers, install, reading, relay, row, running, wait
from tests.integration.relay.test_slot import drop_by_force, trouble
from tests.integration.relay.test_switch import await_mode, switch
from tests.integration.relay.test_troubles import lose_the_slot, slot_is_lost

pytestmark = [pytest.mark.serial, pytest.mark.slow]

PROGRAMS = installed().parent / "pginstall" / "bin"


@contextmanager
def postgres16(data: Path) -> Iterator[str]:
    """A server of this test's own; yields the URL of its administrator."""
    place = choose_place(data)
    if place.uid is not None:
        pytest.skip("this user may not run PostgreSQL where the programs lie")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    initdb = [*place.prefix, str(PROGRAMS / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync"]
    subprocess.run([*initdb, "--encoding=UTF8", "--locale=C"], check=True, capture_output=True)
    settings = ("wal_level=logical", "fsync=off", f"port={port}", "listen_addresses=127.0.0.1")
    options = [word for name in (*settings, "unix_socket_directories=") for word in ("-c", name)]
    server = subprocess.Popen([*place.prefix, str(PROGRAMS / "postgres"), "-D", str(data), *options])
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"

    def answers() -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(url, connect_timeout=2):
            return True
        return False

    try:
        eventually(answers, 60, "Postgres answers")
        yield url
    finally:
        server.terminate()
        try:
            server.wait(deadline(20))
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@pytest.fixture
def old(stack: Stack, topic_prefix: str, tmp_path: Path) -> Iterator[Place]:
    with postgres16(tmp_path / "data") as url:
        install(url)
        with psycopg.connect(url) as connection:
            assert 160_000 <= connection.info.server_version < 170_000
        yield Place(url, stack.kafka_bootstrap_servers, topic_prefix)


def test_switched_dropped_and_lost(old: Place) -> None:
    topic = old.topic("numbers")
    with reading(old, topic) as reader:
        with running(relay(old)):
            old.await_state("streaming")
            writers = Writers(old, topic, 3)
            with writers.running():
                switch(old, "polling")
                await_mode(old, "polling")
                switch(old, "cdc")
                await_mode(old, "cdc")
                drop_by_force(old)
                eventually(lambda: "somebody dropped it" in trouble(old), 20, "it is noted")
                old.await_state("streaming")
                wait(1)
                written = writers.finish()
            reader.await_numbers(written)
            old.await_empty()
            assert reader.doubles == 0
        lose_the_slot(old)
        old.add(row(topic, "k", b"0"))
        with running(relay(old)):
            old.await_state("streaming", 40)
            assert not slot_is_lost(old)
            old.add(row(topic, "k", b"1"))
            reader.await_numbers({**written, "k": 2})
    assert "max_slot_wal_keep_size" in trouble(old)
