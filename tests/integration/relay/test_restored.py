"""The database goes back to a backup under a relay that lives: it is seen, said, and costs doubles at most."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import pytest

from orchestrator.local.postgres import choose_place
from orchestrator.local.stack import BlockingStack
from tests.deadlines import eventually
from tests.integration.relay.outboxes import Place, install, reading, relay, row, running
from tests.integration.relay.test_slot import assert_said, trouble
from tests.servers import create_database

pytestmark = [pytest.mark.serial, pytest.mark.slow]

How = Literal["a base backup, to a new timeline", "a base backup, as it is", "all files, with the slot"]
SAID = {
    "a base backup, to a new timeline": "Postgres is another one, or has gone back",
    "a base backup, as it is": "a backup was restored",  # its slot is not in it
    "all files, with the slot": "this database went back",  # only who lived through it can know
}


@pytest.fixture
def own(own_stack: BlockingStack) -> Place:
    url = create_database(own_stack.stack.database_url)
    install(url)
    return Place(url, own_stack.stack.kafka_bootstrap_servers, "own.")


@pytest.fixture
def frozen_kafka(own_stack: BlockingStack) -> Iterator[None]:
    yield
    own_stack.server("kafka").signal(signal.SIGCONT)


def back_up(own: BlockingStack, target: Path, how: How) -> None:
    place = choose_place(own.stack.var / "postgres")
    if how == "all files, with the slot":
        own.stop_server("postgres")
        shutil.copytree(place.data, target)
        own.start_server("postgres")
        return
    command = [str(place.programs / "pg_basebackup"), "-d", own.stack.database_url, "-D", str(target), "-c", "fast"]
    subprocess.run([*command, "-X", "stream"], check=True, capture_output=True)


def restore(own: BlockingStack, backup: Path, how: How) -> None:
    place = choose_place(own.stack.var / "postgres")
    own.stop_server("postgres")
    shutil.rmtree(place.data)
    shutil.copytree(backup, place.data)
    if how == "a base backup, to a new timeline":
        (place.data / "recovery.signal").touch()
        with (place.data / "postgresql.auto.conf").open("a") as settings:
            settings.write("restore_command = 'false'\n")
    place.data.chmod(0o700)
    if place.uid is not None:
        for path in (place.data, *place.data.rglob("*")):
            os.chown(path, place.uid, place.gid or 0)
    own.start_server("postgres")


@pytest.mark.usefixtures("frozen_kafka")
@pytest.mark.parametrize("how", get_args(How))
def test_what_was_in_the_outbox_then_goes_out_again_and_all_goes_on(
    own: Place, own_stack: BlockingStack, tmp_path: Path, caplog: pytest.LogCaptureFixture, how: How
) -> None:
    topic = own.topic("numbers")
    with reading(own, topic) as reader, running(relay(own)):
        own.await_state("streaming")
        own.add(*(row(topic, "k", b"%d" % n) for n in range(5)))
        own.await_empty()
        own_stack.server("kafka").signal(signal.SIGSTOP)
        own.add(*(row(topic, "k", b"%d" % n) for n in range(5, 8)))
        back_up(own_stack, tmp_path / "backup", how)  # three rows are in it that have not left
        own_stack.server("kafka").signal(signal.SIGCONT)
        reader.await_numbers({"k": 8}, 60)
        own.await_empty(60)
        own.await_state("streaming", 40)
        own.add(*(row(topic, "k", b"%d" % n) for n in range(8, 10)))
        own.await_empty()
        doubles = reader.doubles
        restore(own_stack, tmp_path / "backup", how)
        eventually(lambda: reader.read() and reader.doubles >= doubles + 3, 60, "the three go out again")
        eventually(lambda: SAID[how] in trouble(own), 30, "it is noted for people")
        own.await_empty(60)
        own.await_state("streaming", 60)
        own.add(row(topic, "k", b"10"))
        reader.await_numbers({"k": 11})
        own.await_confirmed()
    assert_said(caplog, SAID[how])
    ids = {message.value(): set() for message in reader.messages}
    for message in reader.messages:
        ids[message.value()].add(dict(message.headers())["id"])
    assert {value: len(found) for value, found in ids.items()} == {b"%d" % n: 1 for n in range(11)}
