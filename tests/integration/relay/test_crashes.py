"""A relay is killed at each of its commits and sends, by a failpoint; the next one brings every row to Kafka at least
once, each key in its order, and leaves the table empty.

tests/unit/test_failpoints.py holds that no failpoint of the code is missing here.
"""

import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from outbox_relay import dead
from outbox_relay.limits import LEASE_S
from tests.deadlines import eventually
from tests.integration.relay.outboxes import Place, Reader, RelayProcess, Writers, process, reading, row
from tests.integration.relay.test_dead_rows import dead_rows
from tests.integration.relay.test_modes import other_reader

# What every tenure passes through; at the third hit, or the fiftieth, some rows are in each of its hands.
EACH_TENURE = [
    "relay.lease.before",
    "relay.lease.after",
    "relay.beat.before=2",
    "relay.beat.after=2",
    "relay.partitions.before",
    "relay.partitions.after",
    "relay.topics.before",
    "relay.topics.after",
    "relay.found.before",
    "relay.found.after",
    "relay.slot.before",
    "relay.slot.after",
    "relay.slot_note.before",
    "relay.slot_note.after",
    "relay.confirm.before=2",
    "relay.confirm.after=2",
    "relay.look.before=3",
    "relay.look.after=3",
    "relay.produce.before=50",
    "relay.produce.after=50",
    "relay.acked=3",
    "relay.delete.before=3",
    "relay.delete.after=3",
]
QUICK = {"relay.lease.after", "relay.slot.after", "relay.produce.after", "relay.acked", "relay.delete.before"}
"""The core that `make test` runs; the rest is slow all together."""


def armed(places: list[str]) -> list[object]:
    """Parameters: `name` or `name=hit` as a specification of AMENDS_FAILPOINTS."""
    return [
        pytest.param(
            f"{name}=kill@{hit or 1}", id=name, marks=[] if name in QUICK or len(places) < 9 else [pytest.mark.slow]
        )
        for name, _, hit in (place.partition("=") for place in places)
    ]


@contextmanager
def successor(place: Place, mode: str = "cdc") -> Iterator[RelayProcess]:
    """The next relay; it must leave nothing, and stop in order."""
    with process(mode, "successor", place) as relay:
        yield relay
        place.await_empty()
        relay.stop()


def crash_under_load(place: Place, reader: Reader, topic: str, mode: str, failpoints: str) -> None:
    writers = Writers(place, topic, 2)
    with writers.running():
        with process(mode, "doomed", place, failpoints=failpoints) as doomed:
            doomed.await_death()
        with successor(place, mode):
            reader.await_numbers(writers.finish())


@pytest.mark.parametrize("failpoints", armed(EACH_TENURE))
def test_killed_while_rows_come(place: Place, failpoints: str) -> None:
    topic = place.topic("numbers")
    with reading(place, topic) as reader:
        crash_under_load(place, reader, topic, "cdc", failpoints)


@pytest.mark.slow
@pytest.mark.parametrize(
    "failpoints", armed(["relay.look.after=3", "relay.produce.after=50", "relay.acked=3", "relay.delete.after=3"])
)
def test_killed_while_it_polls(place: Place, failpoints: str) -> None:
    topic = place.topic("numbers")
    with reading(place, topic) as reader:
        crash_under_load(place, reader, topic, "polling", failpoints)


@pytest.mark.slow
@pytest.mark.parametrize(
    "failpoints", armed(["relay.purge.before", "relay.purge.after", "relay.dead.before", "relay.dead.after"])
)
def test_killed_over_a_row_that_kafka_never_takes(place: Place, failpoints: str) -> None:
    topic = place.topic("small", **{"max.message.bytes": "20000"})
    rows = [row(topic, "bad", b"0"), row(topic, "bad", b"x" * 30_000), row(topic, "bad", b"1")]
    place.add(*rows, *(row(topic, f"good-{n % 5}", b"%d" % (n // 5)) for n in range(50)))
    with reading(place, topic) as reader:
        with process("cdc", "doomed", place, failpoints=failpoints) as doomed:
            doomed.await_death()
        with successor(place):
            reader.await_numbers({"bad": 1, **{f"good-{n}": 10 for n in range(5)}})
            place.await_empty()
        assert dead_rows(place) == [("bad", "x" * 20, "key"), ("bad", "1", "behind")]


@pytest.mark.slow
@pytest.mark.parametrize("failpoints", armed(["relay.redrive.before", "relay.redrive.after"]))
def test_killed_at_a_redrive(place: Place, failpoints: str) -> None:
    topic = place.topic("numbers")
    place.add(*(row(topic, "k", b"%d" % n) for n in range(20)))
    with place.connect() as connection:
        seqs = [seq for (seq,) in connection.execute("SELECT seq FROM amends.outbox ORDER BY seq")]
        assert dead.move(connection, seqs, ["key"] + ["behind"] * 19, ["planted"] * 20) == seqs
        assert dead.ask_redrive(connection, topic, "k") == 20
    with reading(place, topic) as reader:
        with process("cdc", "doomed", place, failpoints=failpoints) as doomed:
            doomed.await_death()
        with successor(place):
            reader.await_numbers({"k": 20})
    assert dead_rows(place) == []


@pytest.mark.slow
@pytest.mark.parametrize("failpoints", armed(["relay.resend.before", "relay.resend.after"]))
def test_killed_while_what_a_lost_topic_had_is_sent_again(place: Place, failpoints: str) -> None:
    topic = place.topic("events")
    with successor(place):
        place.add(*(row(topic, "k", b"%d" % n, kind="event") for n in range(20)))
    with place.connect() as connection:
        connection.execute("UPDATE amends.outbox_sent SET topic_id = 'of a topic that is gone'")
    with reading(place, topic) as reader:
        with process("cdc", "doomed", place, failpoints=failpoints) as doomed:
            doomed.await_death()
        with successor(place):
            eventually(lambda: reader.read() == 20 and reader.doubles == 20, 20, "all came again")
    assert place.count("outbox_sent") == 20


@pytest.mark.slow
@pytest.mark.parametrize("failpoints", armed(["relay.give_back.before", "relay.give_back.after"]))
def test_killed_while_it_stops_in_order(place: Place, failpoints: str) -> None:
    topic = place.topic("numbers")
    writers = Writers(place, topic, 2)
    with reading(place, topic) as reader, writers.running():
        with process("cdc", "doomed", place, failpoints=failpoints) as doomed:
            place.await_state("streaming")
            doomed.signal(signal.SIGTERM)
            doomed.await_death()
        with successor(place):
            reader.await_numbers(writers.finish())


@pytest.mark.slow
@pytest.mark.parametrize("failpoints", armed(["relay.depose.before", "relay.depose.after"]))
def test_killed_while_it_deposes_a_stopped_one(place: Place, failpoints: str) -> None:
    topic = place.topic("numbers")
    writers = Writers(place, topic, 2)
    with reading(place, topic) as reader, process("cdc", "sleeper", place) as sleeper:
        place.await_state("streaming")
        with writers.running():
            sleeper.signal(signal.SIGSTOP)
            with process("cdc", "doomed", place, failpoints=failpoints) as doomed:
                doomed.await_death(LEASE_S * 3)
            with successor(place):
                reader.await_numbers(writers.finish())
                sleeper.signal(signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize("failpoints", armed(["relay.delete.before", "relay.delete.after"]))
def test_killed_while_it_deletes_for_another_reader(
    place: Place, failpoints: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = f"other_{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("EXTERNAL_SLOT", slot)
    topic = place.topic("numbers")
    with other_reader(place, slot) as other:
        with process("external", "doomed", place, failpoints=failpoints) as doomed:
            place.add(*(row(topic, "k", b"%d" % n) for n in range(5)))
            eventually(lambda: other.confirm() or not doomed.alive(), 20, "the janitor dies")
        place.add(row(topic, "k", b"5"))
        with process("external", "next", place) as janitor:
            eventually(lambda: other.confirm() or place.count() == 0, 20, "every confirmed row is deleted")
            janitor.stop()
        assert other.inserts == 6
