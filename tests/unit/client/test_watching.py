"""Followers against a database of the test's own: transactions become visible in any order, with looks in between."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.client import watching
from orchestrator.client.answers import ShardTaken, TookOver
from orchestrator.client.fan_out import PENDING_MAX, Subscription
from orchestrator.client.watching import Cursor, Follower, Look, News, parse_cursor
from orchestrator.errors import RequestError

T0 = datetime(2026, 1, 1, tzinfo=UTC)
FEEDS = {"w": T0}


@dataclass
class Transactions:
    """As Postgres numbers them: the number is given at the first write, the commit comes when it comes."""

    next_xid: int = 10
    under_way: dict[int, tuple[int, ...]] = field(default_factory=dict)
    committed: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def begin(self, saga_nos: tuple[int, ...]) -> None:
        self.under_way[self.next_xid] = saga_nos
        self.next_xid += 1

    def commit(self, nth: int) -> None:
        if self.under_way:
            xid = sorted(self.under_way)[nth % len(self.under_way)]
            self.committed[xid] = self.under_way.pop(xid)

    def look(self, from_xid: int, **more: object) -> Look:
        rows = sorted((xid, nos) for xid, nos in self.committed.items() if xid >= from_xid)[: watching.ROWS_MAX]
        known: dict[str, object] = {"is_registered": True, "feeders": FEEDS, "takeovers": (), "now_us": 1}
        xmin = min(self.under_way, default=self.next_xid)
        return Look(xmin=xmin, moved=tuple(rows), **{**known, **more})  # type: ignore[arg-type]


Acts = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.lists(st.integers(1, 9), min_size=1, max_size=3)),
        st.tuples(st.just("commit"), st.integers(0, 5)),
        st.tuples(st.just("look"), st.just(0)),
    ),
    max_size=60,
)


@given(acts=Acts)
def test_each_commit_after_the_opening_is_told_once(acts: list[tuple[str, object]]) -> None:
    database, follower = Transactions(), Follower(0)
    assert follower.note(database.look(0)).opened
    told: list[int] = []
    for act, what in acts:
        match act:
            case "begin":
                database.begin((len(database.committed) * 100 + database.next_xid,))  # a saga of its own
            case "commit":
                database.commit(what)  # type: ignore[arg-type]
            case "look":
                told += follower.note(database.look(follower.from_xid)).saga_nos
    for _ in range(len(database.committed) + 2):
        told += follower.note(database.look(follower.from_xid)).saga_nos
    assert sorted(told) == sorted(no for nos in database.committed.values() for no in nos)


@given(acts=Acts)
def test_what_is_taken_up_at_a_cursor_is_all_that_came_after_it(acts: list[tuple[str, object]]) -> None:
    """Whoever was told all up to a cursor needs only what has its number or a higher one."""
    database, follower = Transactions(), Follower(0)
    follower.note(database.look(0))
    places = [(follower.cursor, frozenset(database.committed))]
    for act, what in acts:
        match act:
            case "begin":
                database.begin((1,))
            case "commit":
                database.commit(what)  # type: ignore[arg-type]
            case "look":
                follower.note(database.look(follower.from_xid))
                places.append((follower.cursor, frozenset(database.committed)))
    for cursor, seen in places:
        assert {xid for xid in database.committed if xid >= cursor.xid} >= database.committed.keys() - seen


def test_it_opens_when_every_orchestrator_tells() -> None:
    database, follower = Transactions(), Follower(0)
    assert follower.note(database.look(0, feeders={"w": T0, "v": None})) == News()
    assert follower.note(database.look(0)) == News(opened=True)
    assert follower.note(database.look(0)).is_empty


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"is_registered": False}, "left off"),
        ({"feeders": {"w": None}}, "left off"),
        ({"feeders": {"w": T0 + timedelta(seconds=1)}}, "left off"),
    ],
)
def test_what_may_have_been_missed_is_said(more: dict[str, object], why: str) -> None:
    database, follower = Transactions(), Follower(0)
    follower.note(database.look(0))
    assert why in follower.note(database.look(0, **more)).missed
    assert not follower.note(database.look(0, is_registered=False)).opened


def test_a_restored_database_is_seen_by_its_numbers() -> None:
    database, follower = Transactions(next_xid=500), Follower(0)
    follower.note(database.look(0))
    news = follower.note(Transactions(next_xid=400).look(0))
    assert "restored" in news.missed
    assert news.opened


def test_an_orchestrator_that_begins_while_it_is_watched_breaks_nothing() -> None:
    database, follower = Transactions(), Follower(0)
    follower.note(database.look(0))
    assert not follower.note(database.look(0, feeders=FEEDS | {"new": T0})).missed


def test_a_look_that_is_full_did_not_see_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a transaction that stays open all is read again and again; what comes late has a low number."""
    monkeypatch.setattr(watching, "ROWS_MAX", 3)
    database, follower = Transactions(), Follower(0)
    follower.note(database.look(0))
    for saga_no in range(4):
        database.begin((saga_no,))
    for _ in range(3):
        database.commit(1)
    news = follower.note(database.look(follower.from_xid))
    assert "more than 3" in news.missed
    assert news.opened


def test_takeovers_are_told_once_by_who_took() -> None:
    database, follower = Transactions(), Follower(0)
    old = (0, 1, "a", T0, None)
    follower.note(database.look(0, takeovers=(old,)))
    rows = (old, (0, 2, "b", T0, "a"), (1, 5, "b", T0, "a"), (2, 1, "b", T0, None))
    taken = TookOver("b", T0, (ShardTaken(0, 2, "a"), ShardTaken(1, 5, "a")))
    assert follower.note(database.look(0, takeovers=rows)).takeovers == (taken,)
    assert follower.note(database.look(0, takeovers=rows)).is_empty


async def test_a_slow_watcher_gets_merged_news_and_at_last_has_to_begin_anew() -> None:
    one = Subscription(None)
    one.tell(News(opened=True), Cursor(1, 1))
    one.tell(News(saga_nos=(1, 2)), Cursor(2, 1))
    one.tell(News(saga_nos=(2, 3)), Cursor(3, 1))
    assert await one.news() == News(opened=True, saga_nos=(1, 2, 3))
    assert one.cursor == Cursor(3, 1)
    one.tell(News(saga_nos=tuple(range(PENDING_MAX + 1))), Cursor(4, 1))
    news = await one.news()
    assert (news.opened, news.saga_nos) == (True, ())
    assert "more than" in news.missed


async def test_who_takes_up_at_a_cursor_hears_of_no_opening() -> None:
    one = Subscription(Cursor(1, 1))
    one.take_up(News(saga_nos=(7,)), Cursor(5, 1))
    assert (await one.news(), one.cursor) == (News(saga_nos=(7,)), Cursor(1, 1))
    lost = Subscription(Cursor(1, 1))
    lost.take_up(None, Cursor(5, 1))
    news = await lost.news()
    assert (news.opened, bool(news.missed)) == (True, True)


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "1-x", "1" * 30 + "-1", "1-1 ", "١-١"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(RequestError):
        parse_cursor(text)
    assert parse_cursor(str(Cursor(12, 34))) == Cursor(12, 34)
