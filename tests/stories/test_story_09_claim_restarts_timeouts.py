"""9, MONEY: the ack leaves no trace. After an outage of the relay and a change of owner all commands timed out at once.

Patience that is rebuilt at a claim begins at the claim; while its command lies in the outbox it does not begin; and an
outage of the relay that nobody's timer fell into counts as well.
"""

from types import SimpleNamespace
from uuid import UUID

import psycopg
import pytest

from orchestrator import limits
from orchestrator.core.decisions import Timer
from orchestrator.engine.fence import Hold
from orchestrator.engine.patience import Patience
from orchestrator.engine.wakeups import Wakeups
from orchestrator.engine.watermarks import Watermarks
from tests.integration.relay.outboxes import install
from tests.servers import create_template

SECOND = 1_000_000
KEY = "uid:0:0"
TIMEOUT_S = 30


@pytest.fixture(scope="session")
def database_template(stack) -> str:
    return create_template(stack.database_url, "story-outbox", install)


class Orchestrator:
    """One that has just claimed the shard; its clock is the test's, in seconds from when the command was written."""

    def __init__(self, url: str, claimed_s: int) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.timer = Timer(number=1, due_us=TIMEOUT_S * SECOND, armed_us=0, seq=0)
        saga = SimpleNamespace(prepare=lambda *_: None, timers=lambda _: (self.timer,), key=lambda *_: KEY)
        self.wakeups, self.marks = Wakeups(), Watermarks()
        self.patience = Patience(self.wakeups, self.marks, saga, lambda _shards: None)
        self.holds = {0: Hold(0, 2, UUID(int=1), 0, 0, "topic", claimed_s * SECOND)}
        self.wakeups.set(1, "saga", 0, self.timer.due_us)

    def fires(self, now_s: float) -> bool:
        """A few cycles of the main loop, Kafka answering between them."""
        for nudge_us in (0, 1_000, 2_000, 3_000):
            now_us = int(now_s * SECOND) + nudge_us
            if self.patience.due(self.connection, self.holds, now_us):
                return True
            self.marks.observed(0, 0, now_us)
            self.marks.reached(0, 0)
        return False

    def first_s(self, since_s: int, until_s: int) -> float | None:
        """The first moment at which the timer fires; four looks a second."""
        moments = (quarter / 4 for quarter in range(since_s * 4, until_s * 4))
        return next((moment for moment in moments if self.fires(moment)), None)


def write(url: str) -> None:
    """The command's row, of the second 0."""
    with psycopg.connect(url) as connection:
        connection.execute(
            """INSERT INTO amends.outbox (aggregatetype, aggregateid, type, payload, partition, kind, operation_key,
            "timestamp") VALUES ('pay', 's', 'Charge', '', 0, 'command', %s, 'epoch')""",
            (KEY,),
        )


def relay_sends(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM amends.outbox")


def test_after_a_claim_patience_begins_at_the_claim(database_url):
    write(database_url)
    relay_sends(database_url)  # When? Nobody knows: the row is gone, and its owner too.
    successor = Orchestrator(database_url, claimed_s=600)
    assert successor.first_s(600, 700) == 600 + TIMEOUT_S


def test_what_was_not_sent_does_not_time_out(database_url):
    write(database_url)
    owner = Orchestrator(database_url, claimed_s=0)
    assert owner.first_s(0, 120) is None
    relay_sends(database_url)
    assert owner.first_s(120, 200) == 120 + TIMEOUT_S


def test_an_outage_that_ended_before_the_timer_fell_due_counts(database_url):
    write(database_url)
    owner = Orchestrator(database_url, claimed_s=0)
    assert owner.first_s(0, TIMEOUT_S - 1) is None
    relay_sends(database_url)
    assert owner.first_s(TIMEOUT_S - 1, 100) == 2 * TIMEOUT_S - 1


def test_a_prompt_relay_costs_no_patience(database_url):
    owner = Orchestrator(database_url, claimed_s=0)
    assert owner.first_s(0, 100) == TIMEOUT_S
    assert limits.OUTBOX_HEALTHY_S < TIMEOUT_S
