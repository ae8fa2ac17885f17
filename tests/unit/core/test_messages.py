"""Messages: order, doubles, channels, and none lost (rule 12, hole A10)."""

import asyncio
import queue
import threading
from dataclasses import replace

import pytest

from orchestrator import Misuse, Saga, TimedOut, saga
from orchestrator.core.blocked import Blocked
from orchestrator.core.decisions import Publish, SendMessage, SetValue, StartSaga
from orchestrator.core.entries import Started
from orchestrator.core.ids import SagaIdentity
from orchestrator.core.mailbox import Mail, Receive
from orchestrator.core.turn import LiveSaga
from orchestrator.testing import Simulation
from tests.unit.core.shop import Driver, OrderPaid, Paid, Print, Refused, ops


@saga
async def takes_three(s: Saga, _: int) -> list[str]:
    await s.call(Print(order="first"))
    got = []
    for _n in range(3):
        match await s.receive(Paid, Refused):
            case Paid(reference=reference):
                got.append(reference)
            case Refused(reason=reason):
                got.append(reason)
    return got


def test_messages_wait_and_are_received_in_the_order_of_arrival() -> None:
    driver = Driver(takes_three, 0)
    driver.feed(driver.message(Paid(reference="1"), id="a"))
    driver.feed(driver.message(Refused(reason="2"), id="b"))
    driver.feed(driver.message(Paid(reference="elsewhere"), id="c", channel="other"))
    driver.feed(driver.reply(0, "label"))
    driver.feed(driver.message(Paid(reference="3"), id="d"))
    assert driver.end.result == ["1", "2", "3"]


def test_a_double_is_ignored_however_late() -> None:
    driver = Driver(takes_three, 0)
    driver.feed(driver.message(Paid(reference="1"), id="a"))
    driver.feed(driver.reply(0, "label"))
    assert driver.ignored(driver.message(Paid(reference="1"), id="a")) == "a message that came before"
    assert driver.live.message_ids == {"a"}


def test_channels_and_types_choose_who_receives() -> None:
    @saga
    async def two(s: Saga, _: int) -> str:
        by_lead, refused = await asyncio.gather(s.receive(Paid, channel="lead"), s.receive(Refused))
        return f"{by_lead.reference} {refused.reason}"

    driver = Driver(two, 0)
    driver.feed(driver.message(Paid(reference="x"), id="0"))
    driver.feed(driver.message(Refused(reason="r"), id="1"))
    driver.feed(driver.message(Paid(reference="l"), id="2", channel="lead"))
    assert driver.end.result == "l r"
    assert [d.to_json()["name"] for d in driver.started] == ["ShopPaid on lead", "ShopRefused"]


def test_a_timeout_and_a_later_message() -> None:
    @saga
    async def waits(s: Saga, _: int) -> str:
        try:
            await s.receive(Paid, timeout=60)
        except TimedOut as error:
            await asyncio.sleep(1)
            return f"{error} | {error.effect} | {(await s.receive(Paid)).reference}"
        return "?"

    driver = Driver(waits, 0)
    driver.feed(driver.timer())
    driver.feed(driver.message(Paid(reference="late"), id="1"))
    driver.feed(driver.timer())
    assert driver.end.result == "no ShopPaid came in time | none | late"


def test_a_reader_that_was_cancelled_takes_nothing() -> None:
    @saga
    async def cancels(s: Saga, _: int) -> str:
        reader = asyncio.create_task(s.receive(Paid))
        await s.receive(Paid, channel="go")
        reader.cancel()
        return (await s.receive(Paid)).reference

    driver = Driver(cancels, 0)
    driver.feed(driver.message(Paid(reference="go"), id="0", channel="go"))
    driver.feed(driver.message(Paid(reference="kept"), id="1"))
    assert driver.end.result == "kept"


def test_a_message_handed_to_somebody_who_is_cancelled_before_taking_it_goes_back_to_its_place() -> None:
    driver = Driver(takes_three, 0)
    driver.feed(driver.reply(0, "label"))
    (receive,) = driver.live._st.operations.values()
    mailbox = driver.live._mailbox
    mailbox.receivers.clear()
    mailbox.arrived(driver.message(Paid(reference="later"), id="2"))
    assert isinstance(receive, Receive)
    receive.got = Mail(0, "ShopPaid", "", {"reference": "earlier"})
    receive.abandon()
    assert [mail.body["reference"] for mail in mailbox.mail] == ["earlier", "later"]


def test_a_message_before_the_start_is_kept() -> None:
    live = LiveSaga(takes_three, SagaIdentity("x", "u", "takes_three", 1, 0))
    source = Driver(takes_three, 0)
    live.feed(source.message(Paid(reference="early"), id="e"))
    live.feed(Started(at_us=1, input=0))
    assert live.message_ids == {"e"}
    assert live._mailbox.mail[0].body == {"reference": "early"}


@pytest.mark.parametrize("is_early", [False, True], ids=["after the saga waits for it", "before"])
def test_a_message_that_its_class_does_not_take_blocks_the_saga_whenever_it_came(is_early: bool) -> None:
    @saga
    async def catches_all(s: Saga, _: int) -> str:
        await s.call(Print(order="first"))
        try:
            return (await s.receive(Paid)).reference
        except Exception:
            return "went on"

    driver = Driver(catches_all, 0)
    unfit = replace(driver.message(Paid(reference="1"), id="a"), body={"reference": 7})
    label = driver.reply(0, "label")
    first, last = (unfit, label) if is_early else (label, unfit)
    driver.live.feed(first)
    with pytest.raises(Blocked, match="this is no Paid: reference"):
        driver.live.feed(last)


def test_what_is_written_with_the_turn() -> None:
    @saga
    async def writes(s: Saga, _: int) -> str:
        s.set("at", {"when": s.now(), "n": [1, 2]})
        s.publish(OrderPaid(order="7"))
        s.send("other", Paid(reference="r"), channel="c")
        return s.start(takes_three, 5) + " " + s.start(takes_three, 6, id="mine")

    driver = Driver(writes, 0)
    set_, publish, send, start, start_mine = driver.all[:5]
    assert set_ == SetValue(seq=0, key="at", value={"when": "1970-01-01T00:16:40Z", "n": [1, 2]})
    assert publish == Publish(seq=1, topic="orders", key="7", type="ShopOrderPaid", body={"order": "7"})
    assert send == SendMessage(seq=2, saga_id="other", type="ShopPaid", channel="c", body={"reference": "r"})
    assert start == StartSaga(seq=3, type="takes_three", version=1, id="uid-1:0:3", input=5)
    assert isinstance(start_mine, StartSaga)
    assert driver.end.result == "uid-1:0:3 mine"
    assert ops(driver.all) == ["set", "publish", "send", "start", "start", "finish completed"]


def test_chance_and_names_repeat_and_differ_between_sagas() -> None:
    @saga
    async def rolls(s: Saga, _: int) -> list[str]:
        return [str(s.uuid()), str(s.uuid()), str(s.random().random()), str(s.random().random())]

    one = Driver(rolls, 0).end.result
    assert one == Driver(rolls, 0).end.result
    assert len(set(one)) == 4
    other = LiveSaga(rolls, SagaIdentity("y", "uid-2", "rolls", 1, 0)).feed(Started(at_us=0, input=0))
    assert other.decisions[-1].result != one  # type: ignore[union-attr]


def test_a_message_to_a_saga_that_has_ended_is_a_dead_letter(sim: Simulation) -> None:
    @saga
    async def short(s: Saga, _: int) -> None: ...

    ended = sim.start(short, 1)
    ended.send(Paid(reference="late"))
    assert sim.dead_letters == [Paid(reference="late")]


def test_a_message_to_a_saga_that_is_not_there_yet_waits(sim: Simulation) -> None:
    @saga
    async def sender(s: Saga, _: int) -> None:
        s.send("later", Paid(reference="early"))

    @saga
    async def receiver(s: Saga, _: int) -> str:
        return (await s.receive(Paid)).reference

    sim.start(sender, 1)
    assert sim.start(receiver, 1, id="later").result == "early"


def test_the_handle_is_for_its_own_saga() -> None:
    handles: list[Saga] = []

    @saga
    async def leaks(s: Saga, _: int) -> None:
        handles.append(s)
        await s.receive(Paid)

    Driver(leaks, 0)
    with pytest.raises(Misuse, match="outside of its saga"):
        handles[0].set("a", 1)

    @saga
    async def borrows(s: Saga, _: int) -> None:
        with pytest.raises(Misuse, match="outside of its saga"):
            handles[0].set("a", 1)
        s.set("a", 2)
        await s.receive(Paid)

    (turn,) = Driver(borrows, 0).rows
    assert [decision["op"] for decision in turn[1:]] == ["set", "receive"]


def test_the_handle_is_not_for_a_thread_even_while_a_turn_runs() -> None:
    given: queue.SimpleQueue[Saga | None] = queue.SimpleQueue()
    told: queue.SimpleQueue[str] = queue.SimpleQueue()

    def uses() -> None:
        while (handle := given.get()) is not None:  # live, and on each replay
            try:
                handle.set("a", 1)
            except Misuse as error:
                told.put(str(error))
            else:
                told.put("it was taken")

    @saga
    async def lends(s: Saga, _: int) -> str:
        given.put(s)
        return told.get(timeout=10)

    thread = threading.Thread(target=uses)
    thread.start()
    try:
        assert "outside of its saga" in Driver(lends, 0).end.result
    finally:
        given.put(None)
        thread.join()
