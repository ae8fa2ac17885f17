"""B8, MONEY: a stopped relay woke with two hundred messages in its producer, and delivered them after its successor.

Nor may a successor begin early because the stopped one's session has ended: its process lives, and so does its queue.
"""

import signal
import time
from contextlib import suppress

import psycopg
import pytest

from orchestrator.local.stack import BlockingStack
from outbox_relay.limits import BEAT_S, LEASE_S, MESSAGE_TIMEOUT_S, SEND_WINDOW_S, STANDBY_LOOK_S
from tests.deadlines import deadline, eventually
from tests.integration.relay.outboxes import Place, install, process, reading, row, wait
from tests.servers import create_database

pytestmark = [pytest.mark.serial, pytest.mark.slow]

END_ITS_LEASE = """
    SELECT count(pg_terminate_backend(k.pid)) FROM pg_locks k
    JOIN pg_database d ON d.oid = k.database AND d.datname = current_database()
    WHERE k.locktype = 'advisory' AND k.granted
"""


def end_its_lease(place: Place) -> None:
    with place.connect() as connection:
        assert connection.execute(END_ITS_LEASE).fetchone() == (1,)


def is_held_by(place: Place, name: str) -> bool:
    with suppress(psycopg.OperationalError):  # it is being restarted
        return place.lease()[1] == name
    return False


@pytest.mark.parametrize("how", ["stopped", "stopped, and its lease session ended", "stopped, and Postgres killed"])
def test_what_it_had_queued_is_never_delivered_late(own_stack: BlockingStack, how: str) -> None:
    place = Place(create_database(own_stack.stack.database_url), own_stack.stack.kafka_bootstrap_servers, "own.")
    install(place.url)
    topic = place.topic("numbers")
    assert SEND_WINDOW_S + MESSAGE_TIMEOUT_S < LEASE_S
    with process("cdc", "sleeper", place) as sleeper, reading(place, topic) as reader:
        place.await_state("streaming")
        place.add(row(topic, "k", b"0"))
        reader.await_numbers({"k": 1})
        place.await_empty()
        own_stack.server("kafka").signal(signal.SIGSTOP)
        place.add(*(row(topic, "k", b"%d" % n) for n in range(1, 201)))
        wait(0.7)  # the stream tells of a row within milliseconds: now they are in its producer
        with process("cdc", "other", place):
            wait(1.5)  # it has begun to watch
            sleeper.signal(signal.SIGSTOP)
            stopped = time.monotonic()
            if "ended" in how:
                end_its_lease(place)
            elif "killed" in how:
                own_stack.server("postgres").signal(signal.SIGKILL)
            eventually(lambda: is_held_by(place, "other"), 4 * LEASE_S, "the standby has the lease")
            assert time.monotonic() - stopped > LEASE_S - BEAT_S - STANDBY_LOOK_S
            own_stack.server("kafka").signal(signal.SIGCONT)
            reader.await_numbers({"k": 201}, 60)
            place.await_empty(60)
            place.add(row(topic, "k", b"201"))
            reader.await_numbers({"k": 202})
            before = len(reader.messages)
            sleeper.signal(signal.SIGCONT)
            wait(deadline(MESSAGE_TIMEOUT_S))
            reader.read(2.0)
            assert len(reader.messages) == before
            assert place.lease()[1] == "other"
            assert sleeper.alive()
