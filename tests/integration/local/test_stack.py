"""The local stack under violence: servers killed, the keeper killed, and what the next one finds."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from orchestrator.local.background import down, read_stack, up_in_background
from orchestrator.local.ownership import read_owner
from orchestrator.local.paths import VarDir
from orchestrator.local.postgres import public_root
from orchestrator.local.processes import PidFile, identify
from orchestrator.local.stack import BlockingStack, up
from tests.deadlines import deadline, eventually

pytestmark = [pytest.mark.serial, pytest.mark.slow]


def accepts(database_url: str) -> bool:
    try:
        psycopg.connect(database_url).close()
    except psycopg.OperationalError:
        return False
    return True


def produced(bootstrap_servers: str, topic: str) -> bool:
    producer = Producer({"bootstrap.servers": bootstrap_servers, "enable.idempotence": True})
    producer.produce(topic, b"value")
    return producer.flush(deadline(20)) == 0


def test_killed_servers_come_back_with_their_data(own_stack: BlockingStack) -> None:
    url, kafka = own_stack.stack.database_url, own_stack.stack.kafka_bootstrap_servers
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (n int)")
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic("kept", num_partitions=1, replication_factor=1)])["kept"].result()
    assert produced(kafka, "kept")
    for name in ("postgres", "kafka"):
        before = own_stack.server(name)
        before.kill()
        eventually(lambda: own_stack.server(name).pid != before.pid, 20, f"{name} runs again")  # noqa: B023
    eventually(lambda: accepts(url), 20, "Postgres accepts connections")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    assert produced(kafka, "kept")


def test_a_stopped_server_stays_down_until_it_is_started(own_stack: BlockingStack) -> None:
    own_stack.stop_server("postgres")
    assert not accepts(own_stack.stack.database_url)
    own_stack.start_server("postgres")
    assert accepts(own_stack.stack.database_url)


def test_what_is_spawned_ends_with_the_stack(own_stack: BlockingStack) -> None:
    argv = [sys.executable, "-c", "import os, time; print(os.environ['WHO'], flush=True); time.sleep(600)"]
    child = own_stack.spawn("worker", argv, {"WHO": "the worker"})
    log = own_stack.stack.var / "log" / "worker.log"
    eventually(lambda: log.read_text() == "the worker\n", 10, "the child has said its name")
    own_stack.run(own_stack.running.down())
    assert identify(child.pid) is None
    assert list((own_stack.stack.var / "run").glob("*.json")) == []


def own_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"):
        monkeypatch.delenv(name, raising=False)


def test_after_a_kill_of_the_keeper_the_next_one_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_servers(monkeypatch)
    var = VarDir.at(tmp_path / "var")
    first = up_in_background(var.root, progress=print)
    pid_files = [PidFile.read(path) for path in var.run.glob("*.json")]
    owner = read_owner(var)
    assert owner is not None
    os.kill(owner.identity.pid, signal.SIGKILL)
    eventually(lambda: read_stack(var.root) is None, 5, "the keeper is gone")
    second = up_in_background(var.root, progress=print)
    try:
        assert second == first  # The same ports: they were free again.
        assert len(pid_files) == 2
        assert not any(pid_file.identity.is_alive() for pid_file in pid_files if pid_file)
        assert accepts(second.database_url)
    finally:
        assert down(var.root)
    assert not down(var.root)


async def test_a_fresh_start_has_the_same_ports_and_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_servers(monkeypatch)
    first = await up(tmp_path / "var", progress=print)
    with psycopg.connect(first.stack.database_url) as connection:
        connection.execute("CREATE TABLE gone (n int)")
    await first.down()
    second = await up(tmp_path / "var", progress=print, fresh=True)
    with psycopg.connect(second.stack.database_url) as connection:
        assert connection.execute("SELECT to_regclass('gone')").fetchone() == (None,)
    await second.down()
    assert first.stack == second.stack


def test_two_stacks_run_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_servers(monkeypatch)
    names = ("one", "other")
    try:
        stacks = [up_in_background(tmp_path / name, progress=print) for name in names]
        assert stacks[0].database_url != stacks[1].database_url
        assert all(accepts(stack.database_url) for stack in stacks)
        assert up_in_background(tmp_path / "one", progress=print) == stacks[0]  # A second `up` changes nothing.
    finally:
        ended = [down(tmp_path / name) for name in names]
    assert ended == [True, True]


def test_a_stack_ends_with_the_process_that_it_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_servers(monkeypatch)
    watched = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    up_in_background(tmp_path / "var", progress=print, watched_pid=watched.pid)
    watched.kill()
    watched.wait()
    eventually(lambda: read_stack(tmp_path / "var") is None, 30, "the stack has ended by itself")
    down(tmp_path / "var")


def test_given_servers_are_used_and_left_alone(own_stack: BlockingStack, tmp_path: Path) -> None:
    environment = {**os.environ, **own_stack.stack.environment()}
    command = [sys.executable, "-m", "orchestrator.local"]
    for verb in ("up", "down"):
        subprocess.run([*command, verb, "--var", str(tmp_path / "other")], env=environment, check=True)
    assert not (tmp_path / "other" / "postgres").exists()
    assert accepts(own_stack.stack.database_url)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user to run Postgres as")
def test_root_without_user_namespaces_runs_postgres_as_somebody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that forbids `unshare`: here it is hidden by one that always fails."""
    own_servers(monkeypatch)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "unshare").symlink_to(shutil.which("false") or "/bin/false")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    root = public_root(tmp_path / "var" / "postgres")
    try:
        stack = up_in_background(tmp_path / "var", progress=print)
        with psycopg.connect(stack.database_url) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
        assert row is not None
        assert Path(row[0]).is_relative_to(root)
        assert Path(row[0]).stat().st_uid != 0
    finally:
        down(tmp_path / "var")
        shutil.rmtree(root)
