"""`amends relay switch`: the holder changes over while rows pass, its standbys obey when they take over, and no slot is
left where the outbox is polled. Nothing is lost, each key keeps its order, and without a death nothing comes twice.
"""

import signal

import pytest

from outbox_relay import lease, slot
from outbox_relay.limits import LEASE_S
from tests.deadlines import eventually
from tests.integration.relay.outboxes import (
    Place,
    Writers,
    process,
    reading,
    relay,
    row,
    running,
    wait,
)
from tests.integration.relay.test_takeover import STATE, await_standby


def switch(place: Place, mode: lease.Switched | None) -> bool | None:
    with place.connect() as connection:
        return lease.switch(connection, mode)


def await_mode(place: Place, mode: lease.Switched, *, live: bool = True) -> None:
    """In this mode, and the slot is there or gone as it must be. `live` False: while Kafka is away all is polled."""
    eventually(lambda: place.lease()[3].get("wanted") == mode, 20, f"{mode} is wanted")
    place.await_state(STATE[mode] if live else "polling", 40)
    if mode == "cdc":
        eventually(lambda: place.slot() is not None, 20, "there is a slot")
    if mode == "polling":
        eventually(lambda: place.slot() is None, 20, "the slot is dropped")
        with place.connect() as connection:
            assert slot.noted(connection).name is None  # so nobody will miss it


def test_back_and_forth_under_load_costs_nothing(place: Place) -> None:
    topic = place.topic("numbers")
    writers = Writers(place, topic, 4)
    with reading(place, topic) as reader, running(relay(place)):
        place.await_state("streaming")
        epoch = place.lease()[0]
        with writers.running():
            for mode in ("polling", "cdc") * 4:
                assert switch(place, mode) is True
                await_mode(place, mode)
                wait(0.2)
            for mode in ("polling", "cdc") * 5:  # too fast for anything to be finished
                switch(place, mode)
                wait(0.15)
            await_mode(place, "cdc")
            reader.await_numbers(writers.finish())
        place.await_empty()
        assert reader.doubles == 0
        assert place.lease()[0] == epoch  # the same tenure all the while
        with place.connect() as connection:
            assert slot.noted(connection).lost is None  # a slot that was dropped on purpose was not lost


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_relays_die_while_it_is_switched(place: Place, how: signal.Signals) -> None:
    topic = place.topic("numbers")
    writers = Writers(place, topic, 3)
    with reading(place, topic) as reader, writers.running():
        for n, mode in enumerate(("polling", "cdc", "polling")):
            with process("cdc", f"r{n}", place) as doomed:
                eventually(lambda n=n: place.lease()[1] == f"r{n}", LEASE_S * 3, "the new relay has the lease")
                await_something_sent(place)
                switch(place, mode)
                wait(0.1 * n)  # before it has heard, while it changes over, after that
                doomed.signal(how)
                if how == signal.SIGSTOP:
                    with process("cdc", f"after-{n}", place) as other:
                        eventually(lambda n=n: place.lease()[1] == f"after-{n}", LEASE_S * 3, "the standby has it")
                        await_mode(place, mode)
                        doomed.signal(signal.SIGCONT)
                        other.stop()
                doomed.kill()
        with process("cdc", "last", place) as last:
            await_mode(place, "polling")
            reader.await_numbers(writers.finish())
            place.await_empty()
            last.stop()


def await_something_sent(place: Place) -> None:
    eventually(lambda: place.lease()[3].get("sent", 0) > 0, 30, "rows leave")


def test_a_standby_obeys_what_the_killed_one_was_told(place: Place) -> None:
    topic = place.topic("numbers")
    with reading(place, topic) as reader, process("cdc", "one", place) as one:
        place.await_state("streaming")
        with process("cdc", "other", place):
            await_standby(place)
            switch(place, "polling")
            await_mode(place, "polling")
            one.kill()
            eventually(lambda: place.lease()[1] == "other", 10, "the standby has the lease")
            await_mode(place, "polling")
            place.add(row(topic, "k", b"0"))
            reader.await_numbers({"k": 1})
            switch(place, None)
            await_mode(place, "cdc")  # what it was started with


def test_what_was_switched_goes_before_what_it_is_started_with(place: Place) -> None:
    assert switch(place, "cdc") is False  # nobody is at work
    with running(relay(place, "polling")):
        await_mode(place, "cdc")
        with place.connect() as connection:
            found = lease.status(connection)
        assert (found.wanted, found.state) == ("cdc", "streaming")
        assert found.wanted_at < found.state_at


def test_where_another_reader_sends_it_is_refused(place: Place) -> None:
    with running(relay(place, "external", external_slot="nobody")):
        place.await_state("external")
        assert switch(place, "cdc") is None
        assert place.state() == "external"
    with running(relay(place, "polling")):
        place.await_state("polling")
        assert place.slot() is None  # nothing was stored


@pytest.mark.parametrize("mode", ["polling", "external"])
def test_the_slot_of_an_earlier_cdc_is_dropped_by_a_relay_that_does_not_read_it(place: Place, mode: str) -> None:
    with running(relay(place)):
        place.await_state("streaming")
    assert place.slot() is not None
    with running(relay(place, mode, external_slot="nobody")):
        eventually(lambda: place.slot() is None, 20, "nothing keeps WAL any more")


def test_polling_goes_on_while_an_open_transaction_holds_up_the_new_slot(place: Place) -> None:
    topic = place.topic("numbers")
    with reading(place, topic) as reader, running(relay(place, "polling")), place.connect() as open_one:
        place.await_state("polling")
        with open_one.transaction():
            open_one.execute("SELECT pg_current_xact_id()")
            switch(place, "cdc")
            eventually(lambda: "waits" in (place.lease()[3].get("slot") or ""), 20, "the slot waits to be born")
            place.add(row(topic, "k", b"0"))
            reader.await_numbers({"k": 1})
            switch(place, "polling")  # thought better of it
            await_mode(place, "polling")
            switch(place, "cdc")
        await_mode(place, "cdc")
        place.add(row(topic, "k", b"1"))
        reader.await_numbers({"k": 2})
        place.await_empty()
        assert reader.doubles == 0


def test_a_relay_that_is_asked_to_change_while_it_stops_stops(place: Place) -> None:
    with process("cdc", "one", place) as one:
        place.await_state("streaming")
        switch(place, "polling")
        one.stop()
    assert place.state() == "stopped"
