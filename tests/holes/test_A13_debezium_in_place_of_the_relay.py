"""A13, MONEY: with Debezium in the relay's place nobody deleted the rows, and the day our relay came back it took the
table for the truth and published everything again.

pg_recvlogical stands in for Debezium: it reads the slot, and confirms what it has written to its disk.
"""

import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.local.postgres import installed
from tests.deadlines import deadline, eventually
from tests.integration.relay.outboxes import Place, reading, relay, row, running

OPTIONS = ("-o", "proto_version=1", "-o", "publication_names=amends_outbox")


def recvlogical(place: Place, slot: str, *more: str) -> list[str]:
    return [str(installed() / "bin" / "pg_recvlogical"), "-d", place.url, "--slot", slot, *more]


@contextmanager
def debezium(place: Place, slot: str, file: Path) -> Iterator[subprocess.Popen]:
    command = recvlogical(place, slot, "--start", "-f", str(file), "-F", "1", "-s", "1", *OPTIONS)
    reader = subprocess.Popen(command)
    try:
        yield reader
    finally:
        reader.send_signal(signal.SIGCONT)
        reader.kill()
        reader.wait()


def nothing_is_deleted(place: Place, count: int) -> None:
    """For some rounds of the janitor."""
    rounds = time.monotonic() + deadline(3)
    eventually(lambda: place.count() != count or time.monotonic() > rounds, 10, "some rounds of the janitor")
    assert place.count() == count


def test_what_it_has_confirmed_goes_and_our_relay_sends_the_rest_alone(place: Place, tmp_path: Path) -> None:
    topic, slot = place.topic("numbers"), f"debezium_{uuid.uuid4().hex[:8]}"
    subprocess.run(recvlogical(place, slot, "--create-slot", "-P", "pgoutput"), check=True)
    with running(relay(place, "external", external_slot=slot)):
        place.await_state("external")
        with debezium(place, slot, tmp_path / "read") as reader:
            place.add(*(row(topic, "k", b"%d" % n) for n in range(5)))
            place.await_empty()
            reader.send_signal(signal.SIGSTOP)
            place.add(*(row(topic, "k", b"%d" % n) for n in range(5, 8)))
            nothing_is_deleted(place, 3)
            reader.send_signal(signal.SIGCONT)
            place.await_empty()
        place.add(*(row(topic, "later", b"%d" % n) for n in range(4)))
        nothing_is_deleted(place, 4)
    subprocess.run(recvlogical(place, slot, "--drop-slot"), check=True)
    with reading(place, topic) as kafka, running(relay(place)):
        kafka.await_numbers({"later": 4})
        place.await_empty()
        place.add(row(topic, "later", b"4"))
        kafka.await_numbers({"later": 5})
        assert kafka.doubles == 0
