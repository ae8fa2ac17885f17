"""Debezium itself: Kafka Connect's standalone worker on the JRE of the local stack, with the connector of
docs/operations/relay.md and the login that is made there.

The jars are those of debezium.lock, which `compose/lock.py` writes:

    python compose/lock.py org.apache.kafka:connect-runtime:4.3.1 \
        io.debezium:debezium-connector-postgres:3.6.1.Final org.slf4j:slf4j-simple:1.7.36
"""

import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from orchestrator.local.jars import fetch, read_lock
from orchestrator.local.jre import find_jre
from orchestrator.local.kafka import JVM_FLAGS, jars_folder
from tests import roles
from tests.deadlines import eventually
from tests.integration.relay.outboxes import ROOT, Place

LOCK = Path(__file__).with_name("debezium.lock")
PAGE = ROOT / "docs" / "operations" / "relay.md"
WORKER = """\
bootstrap.servers={kafka}
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=io.debezium.converters.BinaryDataConverter
offset.storage.file.filename={folder}/offsets
offset.flush.interval.ms=200
plugin.path={folder}/plugins
plugin.discovery=service_load
listeners=http://127.0.0.1:{port}
"""


def documented(language: str) -> str:
    """The page's one block in this language."""
    [block] = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(block)


def make_login(place: Place) -> str:
    """As the page says, under a name of this run. Returns the name."""
    name = f"{roles.prefix()}_debezium"
    with place.connect() as connection:
        password = connection.info.password
        with suppress(psycopg.errors.DuplicateObject):
            connection.execute(
                f"CREATE ROLE {name} LOGIN REPLICATION" + (f" PASSWORD '{password}'" if password else "")
            )
        for statement in documented("sql").split(";")[1:]:
            if statement.strip():
                connection.execute(re.sub(r"\bdebezium\b", name, statement))
    return name


def connector(place: Place, login: str, slot: str) -> str:
    """The page's properties for this place."""
    at = urlsplit(place.url)
    ours = {
        "database.hostname": str(at.hostname),
        "database.port": str(at.port),
        "database.user": login,
        "database.password": at.password or "none",
        "database.dbname": at.path.lstrip("/"),
        "slot.name": slot,
        "topic.prefix": place.prefix + "payments",
    }
    lines = [line.split("=", 1) for line in documented("properties").splitlines()]
    assert ours.keys() <= {name for name, _ in lines}
    text = "".join(f"{name}={ours.get(name, value)}\n" for name, value in lines)
    return text + f"topic.heartbeat.prefix={place.prefix}heartbeat\n"  # with the run's other topics it is deleted


class Connect:
    """A worker that can be killed and started again: what it has read stands in its folder and in the slot."""

    def __init__(self, place: Place, folder: Path, slot: str, port: int) -> None:
        self._folder, self._port = folder, port
        (folder / "plugins").mkdir(parents=True)
        (folder / "worker.properties").write_text(WORKER.format(kafka=place.kafka, folder=folder, port=port))
        (folder / "connector.properties").write_text(connector(place, make_login(place), slot))
        place.topic(f"heartbeat.{place.prefix}payments")
        jars = fetch(read_lock(LOCK.read_text()), jars_folder(), print)
        program = ["-cp", os.pathsep.join(map(str, jars)), "org.apache.kafka.connect.cli.ConnectStandalone"]
        files = [str(folder / "worker.properties"), str(folder / "connector.properties")]
        self._command = [str(find_jre().java), *JVM_FLAGS, *program, *files]

    @property
    def said(self) -> str:
        return (self._folder / "log").read_text()

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[bytes]"]:
        """It runs, and reads the slot; killed at the end."""
        with (self._folder / "log").open("ab") as log:
            child = subprocess.Popen(self._command, cwd=self._folder, stdout=log, stderr=log)
        try:
            eventually(lambda: self._is_at_work(child), 60, "the connector is at work")
            yield child
        except AssertionError as error:
            error.add_note(self.said[-4_000:])
            raise
        finally:
            child.kill()
            child.wait()

    def _is_at_work(self, child: "subprocess.Popen[bytes]") -> bool:
        assert child.poll() is None, "Kafka Connect ended"
        with suppress(OSError, ValueError):
            url = f"http://127.0.0.1:{self._port}/connectors/amends-outbox/status"
            with urllib.request.urlopen(url, timeout=2) as answer:
                told = json.load(answer)
            return [task["state"] for task in told["tasks"]] == ["RUNNING"]
        return False
