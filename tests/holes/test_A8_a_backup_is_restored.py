"""A8, MONEY: Postgres went back to a backup; epochs and journals with it, but not Kafka and not the participants.

What had left before is asked for again under its old keys. The procedures, and who notices what, are in decision 0014.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, get_args

import pytest

from orchestrator import Saga, SyncClient, saga
from orchestrator.doctor import judge
from orchestrator.doctor_facts import postgres_facts
from orchestrator.local.postgres import Place, choose_place
from orchestrator.local.stack import BlockingStack
from tests.deadlines import eventually
from tests.holes.shops import balances, make_books
from tests.integration.engine import kit
from tests.integration.engine.program import Go, Post, ledger, patient, refused
from tests.servers import create_database

pytestmark = [pytest.mark.serial, pytest.mark.slow]

How = Literal["recovered to a new timeline", "files put back", "files put back with nobody at work"]


@saga
async def books_twice(s: Saga, account: str) -> int:
    return await s.call(Post(account=account, amount=10)) + await s.call(Post(account=account, amount=20))


SAGAS = [patient, refused, books_twice]


@pytest.fixture
def service(database_url: str, own_stack: BlockingStack) -> Iterator[kit.System]:
    """The participant, with a database on another server."""
    with kit.system(database_url, own_stack.stack.kafka_bootstrap_servers, "own.") as made:
        make_books(made)
        made.relay()
        made.participants([ledger])
        yield made


@pytest.fixture
def machine(own_stack: BlockingStack) -> Iterator[kit.System]:
    """The orchestrator's database and relay, on the server that will be restored."""
    url = create_database(own_stack.stack.database_url)
    with kit.system(url, own_stack.stack.kafka_bootstrap_servers, "own.") as made:
        made.relay()
        yield made


def back_up(own: BlockingStack, place: Place, target: Path) -> None:
    command = [str(place.programs / "pg_basebackup"), "-d", own.stack.database_url, "-D", str(target), "-c", "fast"]
    subprocess.run([*command, "-X", "stream"], check=True, capture_output=True)


def restore(own: BlockingStack, place: Place, backup: Path, how: How) -> None:
    own.stop_server("postgres")
    shutil.rmtree(place.data)
    shutil.copytree(backup, place.data)
    if how == "recovered to a new timeline":
        (place.data / "recovery.signal").touch()
        with (place.data / "postgresql.auto.conf").open("a") as settings:
            settings.write("restore_command = 'false'\n")
    place.data.chmod(0o700)
    if place.uid is not None:
        for path in (place.data, *place.data.rglob("*")):
            os.chown(path, place.uid, place.gid or 0)
    own.start_server("postgres")


def known(machine: kit.System) -> list[tuple]:
    return machine.rows("SELECT system_identifier, timeline FROM amends.installation")


def bring_back(own: BlockingStack, machine: kit.System, backup: Path, how: How, stop: Callable[[], None]) -> None:
    """The restore, with what belongs to it, until somebody is at work again."""
    place = choose_place(own.stack.var / "postgres")
    if how != "files put back with nobody at work":
        restore(own, place, backup, how)
        return
    stop()
    restore(own, place, backup, how)
    # Nobody is there who could know better, and the files say nothing: people do (decision 0014).
    eventually(lambda: machine.execute("UPDATE amends.installation SET timeline = 0") is None, 30, "told")
    machine.orchestrator(SAGAS)


@pytest.mark.parametrize("how", get_args(How))
def test_every_saga_ends_and_nothing_is_booked_twice(
    service: kit.System, own_stack: BlockingStack, machine: kit.System, tmp_path: Path, how: How
) -> None:
    waiting, went_on, new, failing = (tuple(f"{name}{n}" for n in range(4)) for name in "wgnf")
    stop = machine.orchestrator(SAGAS)
    with SyncClient(machine.settings) as client:
        for name in (*waiting, *went_on):
            client.start(patient, name, id=name)
        eventually(lambda: len(balances(service)) == 8, 60, "all have booked once")
        eventually(lambda: len(machine.rows("SELECT 1 FROM amends.journal WHERE pos = 1")) == 8, 30, "and know it")
        back_up(own_stack, choose_place(own_stack.stack.var / "postgres"), tmp_path / "backup")
        for name in went_on:
            client.send(name, Go())
        for name in new:
            client.start(books_twice, name, id=name)
        for name in failing:
            client.start(refused, name, id=name)
        machine.ended([*went_on, *new, *failing])
    before = known(machine)
    bring_back(own_stack, machine, tmp_path / "backup", how, stop)

    with SyncClient(machine.settings) as client:
        for name in waiting:
            client.send(name, Go())
        statuses = machine.ended([*waiting, *went_on, *new, *failing], 120)
    expected = {**dict.fromkeys((*waiting, *went_on, *new), "completed"), **dict.fromkeys(failing, "failed")}
    assert statuses == expected
    assert balances(service) == {**dict.fromkeys((*waiting, *went_on, *new), 30), **dict.fromkeys(failing, 0)}
    assert service.rows("SELECT key FROM bookings GROUP BY key, sign(amount) HAVING count(*) > 1") == []
    assert (known(machine) != before) == (how == "recovered to a new timeline")
    assert "restore" in {finding.subject for finding in judge(postgres_facts(machine.settings), None)}
