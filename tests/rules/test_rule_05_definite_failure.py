"""Rule 5. A clear no means that nothing happened, and nothing is taken back; but only if no earlier try under that key
ended in the dark. Then the no is about the last try alone, and the operation is taken back like one that timed out.
"""

from dataclasses import replace

import pytest

from orchestrator import Retry, Saga, saga
from orchestrator.core.decisions import SendUndo
from orchestrator.core.entries import Replied
from orchestrator.participant.inbox_states import Event, InboxRow, decide
from tests.integration.participant.bench import benched
from tests.integration.participant.conftest import aside
from tests.integration.participant.shop import ChargeCard, make_payments
from tests.unit.core.shop import BUSY, LOST, NO, Charge, Driver

IN_DOUBT = replace(NO, effect="unknown")


@saga
async def pays(s: Saga, _: int) -> None:
    await s.call(Charge(amount=45), retry=Retry(max_attempts=3))


@pytest.mark.parametrize(
    ("first", "last", "undos"),
    [
        (None, NO, 0),  # asked once, declined
        (BUSY, NO, 0),  # the first try surely did nothing
        (LOST, NO, 1),  # the first try is lost; that the second is declined says nothing about it
        (None, IN_DOUBT, 1),  # the participant knows of a lost try that we never heard of
    ],
)
def test_a_no_is_undone_if_and_only_if_some_try_ended_in_the_dark(first, last, undos) -> None:
    driver = Driver(pays, 0)
    attempt = 1
    if first is not None:
        driver.feed(driver.retry(0, first))
        driver.feed(driver.timer())
        attempt = 2
    driver.feed(driver.failed(0, last, attempt=attempt))
    assert len([d for d in driver.all if isinstance(d, SendUndo)]) == undos
    assert (driver.live.status == "failed") == (undos == 0)


def test_silence_is_no_answer_and_leaves_the_dark() -> None:
    driver = Driver(pays, 0)
    driver.feed(driver.verb("cancel"))
    driver.ignored(Replied(at_us=driver.now_us, seq=0, attempt=1, outcome="retry", problem=LOST))
    assert [d.known for d in driver.all if isinstance(d, SendUndo)] == ["unknown"]


@pytest.mark.parametrize("dark", ["lost", "deadline"])
def test_the_inbox_remembers_the_dark_through_every_later_no(dark: Event) -> None:
    row, _ = decide(InboxRow("k:0:1"), "command")
    if dark == "deadline":
        row, _ = decide(row, "deadline")
    for event in ("lost", "command", "postponed", "command", "declined"):
        row, _ = decide(row, event)
    assert row.state == "failed"
    assert decide(row, "undo_unknown")[1] == "undo"


async def test_rm_45_is_not_lost(inbox, inbox_url, make_gateway) -> None:
    """The answer to the first charge is lost, the second is declined, and the customer gets the money back."""
    gateway = make_gateway(honours_keys=False)
    gateway.script.extend(("lost", "declined"))
    command, key = ChargeCard(order_id="o1"), inbox.new_key()
    async with benched(make_payments(lookup=False), inbox_url) as bench:
        for attempt in range(1, 6):  # the line that was cut may cost another attempt or two
            await bench.handle(inbox.command_row(key, command, attempt))
            last = await aside(inbox.answer, key, n=attempt)
            if last.outcome == "failed":
                break
        assert (last.type, last.problem.effect) == ("CardDeclined", "unknown")
        await bench.handle(inbox.undo_row(key, command, "unknown"))
        await aside(inbox.answer, key, "undone")
    assert (len(gateway.book), gateway.net()) == (1, 0)
