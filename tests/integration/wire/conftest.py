"""A whole system of ours, and beside it programs that have nothing of ours: a till, and a client."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import Participant, Transaction
from orchestrator.messaging.kafka_admin import Admin
from orchestrator.messaging.schema_files import write_schemas
from orchestrator.messaging.topics import Topics, ensure_topics
from tests.integration.engine import kit
from tests.integration.wire.contracts import Balance, DayClosed, Deposit, Deposited, MoneyBooked, Note, Paid, Shred

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[3]
FOREIGN = (HERE / "foreign_participant.py", HERE / "foreign_client.py")
PUBLISHED = (Deposit, Deposited, Note, Balance, Shred, MoneyBooked, DayClosed, Paid)

books = Participant("books")


@books.on(MoneyBooked)
async def booked(event: MoneyBooked, tx: Transaction) -> None:
    await tx.connection.execute(
        "INSERT INTO booked (key, account, amount) VALUES (%s, %s, %s)", (event.key, event.account, event.amount)
    )


class Strangers:
    """Starts the foreign programs, each as a process whose environment names servers and files and nothing else."""

    def __init__(self, system: kit.System, folder: Path) -> None:
        self.schemas, self.store = folder / "contract", folder / "till.sqlite"
        write_schemas(self.schemas, PUBLISHED)
        shutil.copytree(ROOT / "schemas" / "amends", self.schemas / "amends")
        self._folder = folder
        self._environment = {
            "PATH": os.environ["PATH"],
            "KAFKA": system.settings.kafka_bootstrap_servers,
            "PREFIX": system.settings.topic_prefix,
            "SCHEMAS": str(self.schemas),
            "STORE": str(self.store),
        }
        self._tills: list[subprocess.Popen[bytes]] = []

    def till(self, *, dies_before_answering: str = "") -> "subprocess.Popen[bytes]":
        more = {"DIES_BEFORE_ANSWERING": dies_before_answering} if dies_before_answering else {}
        command = [sys.executable, "-I", str(FOREIGN[0])]
        self._tills.append(subprocess.Popen(command, env=self._environment | more, cwd=self._folder))
        return self._tills[-1]

    def client(self, verb: str, **said: object) -> None:
        command = [sys.executable, "-I", str(FOREIGN[1]), verb, json.dumps(said)]
        subprocess.run(command, env=self._environment, cwd=self._folder, check=True, timeout=120)

    def rows(self, query: str, *params: object) -> list[tuple]:
        """What the till's database says; nothing while it has no tables yet."""
        if not self.store.exists():
            return []
        with sqlite3.connect(self.store, timeout=30) as connection:
            try:
                return connection.execute(query, params).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                return []

    def ledger(self, account: str) -> list[str]:
        """Every amount that was booked, in order."""
        return [
            amount for (amount,) in self.rows("SELECT amount FROM ledger WHERE account = ? ORDER BY rowid", account)
        ]

    def write(self, statement: str) -> None:
        """What a person, or a purge, does in the till's database."""
        with sqlite3.connect(self.store, timeout=30) as connection:
            connection.execute(statement)

    def stop(self) -> None:
        """Kill every till: it needs no other end."""
        for till in self._tills:
            till.kill()
            till.wait()


@pytest.fixture
def system(database_url: str, kafka_bootstrap_servers: str, topic_prefix: str) -> Iterator[kit.System]:
    with kit.system(database_url, kafka_bootstrap_servers, topic_prefix) as made:
        ensure_topics(Admin(kafka_bootstrap_servers), {Topics(topic_prefix).commands("books"): 1})
        yield made


@pytest.fixture
def strangers(system: kit.System, tmp_path: Path) -> Iterator[Strangers]:
    made = Strangers(system, tmp_path)
    yield made
    made.stop()
