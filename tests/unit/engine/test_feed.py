"""When an orchestrator tells what it moves: from its first batch on, until nobody is seen watching after its claims."""

from typing import Any, cast
from uuid import uuid4

import psycopg
import pytest

from orchestrator import limits
from orchestrator.engine.feed import Feed


class Database:
    """Answers whether anybody watches, and keeps what was asked. `when_asked` runs before the answer."""

    def __init__(self) -> None:
        self.is_watched = False
        self.asked: list[str] = []
        self.when_asked: Any = None

    def execute(self, statement: str, _: object = None) -> "Database":
        self.asked.append(" ".join(statement.split()))
        if "SELECT EXISTS" in statement and self.when_asked is not None:
            self.when_asked()
        return self

    def fetchone(self) -> tuple[bool]:
        return (self.is_watched,)

    @property
    def is_feeding(self) -> bool:
        said = [one for one in self.asked if "feeding_since =" in one]
        return bool(said) and "clock_timestamp()" in said[-1]


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def turn(feed: Feed, clock: Clock, database: Database) -> None:
    """A heartbeat of the watcher thread, and a cycle of the main loop."""
    clock.now_s += limits.HEARTBEAT_S
    feed.follow(cast("psycopg.Connection[Any]", database))
    feed.adopt()


def test_it_says_that_it_tells_before_it_takes_shards(clock: Clock) -> None:
    feed, database = Feed(uuid4(), clock), Database()
    for _ in range(20):  # a standby, for as long as it has none
        turn(feed, clock, database)
        assert feed.is_on
        assert database.is_feeding


def test_nobody_watches_so_it_leaves_off_after_its_claims(clock: Clock) -> None:
    feed, database = Feed(uuid4(), clock), Database()
    turn(feed, clock, database)
    feed.took_shards()
    turn(feed, clock, database)
    assert not feed.is_on
    assert not database.is_feeding


def test_a_look_from_before_the_claims_decides_nothing(clock: Clock) -> None:
    feed, database = Feed(uuid4(), clock), Database()
    database.when_asked = feed.took_shards  # they are committed while it looks
    turn(feed, clock, database)
    assert feed.is_on
    database.is_watched = True
    turn(feed, clock, database)
    assert feed.is_on
    assert database.is_feeding


def test_who_watches_later_is_told_as_soon_as_the_main_loop_has_gone_over_to_it(clock: Clock) -> None:
    feed, database = Feed(uuid4(), clock), Database()
    feed.took_shards()
    turn(feed, clock, database)
    database.is_watched = True
    clock.now_s += limits.HEARTBEAT_S
    feed.follow(cast("psycopg.Connection[Any]", database))
    assert not feed.is_on
    assert not database.is_feeding
    feed.adopt()
    turn(feed, clock, database)
    assert feed.is_on
    assert database.is_feeding
