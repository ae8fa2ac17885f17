"""outbox_sent: daily partitions that are there in time, and what is kept in them."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from orchestrator.messaging.envelope import KINDS
from orchestrator.migrations.roles import role_name
from outbox_relay import Row, sent, table
from outbox_relay.limits import SENT_DAYS_AHEAD
from outbox_relay.polling import TableReader
from tests import roles
from tests.deadlines import eventually
from tests.integration.relay.outboxes import Place, reading, relay, row, running


def days(place: Place) -> list[str]:
    with place.connect() as connection:
        found = connection.execute(
            "SELECT right(c.relname, 8) FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid "
            "WHERE h.inhparent = 'amends.outbox_sent'::regclass ORDER BY 1"
        )
        return [day for (day,) in found.fetchall()]


def day(offset: int) -> str:
    return (datetime.now(UTC) + timedelta(days=offset)).strftime("%Y%m%d")


def make_old_partition(place: Place, offset: int) -> None:
    with place.connect() as connection:
        at = [(datetime.now(UTC) + timedelta(days=offset + n)).strftime("%Y-%m-%d") for n in (0, 1)]
        connection.execute(
            f"CREATE TABLE amends.outbox_sent_{day(offset)} PARTITION OF amends.outbox_sent "
            f"FOR VALUES FROM ('{at[0]} 00:00:00+00') TO ('{at[1]} 00:00:00+00')"
        )


def test_days_are_made_ahead_and_old_ones_dropped_though_somebody_reads(place: Place) -> None:
    make_old_partition(place, -5)
    make_old_partition(place, -3)
    make_old_partition(place, -1)
    with psycopg.connect(place.url) as backup, place.connect() as connection:
        backup.execute(f"SELECT * FROM amends.outbox_sent_{day(-5)}")
        connection.execute(sent.PARTITIONS, (4, 86_400))
        assert days(place) == [day(n) for n in (-5, -1, 0, 1, 2, 3, 4)]  # the one that is read stays for now
        backup.execute("SELECT * FROM amends.outbox_sent")
        connection.execute(sent.PARTITIONS, (5, 86_400))  # new ones wait for no reader
        assert days(place) == [day(n) for n in (-5, -1, 0, 1, 2, 3, 4, 5)]
    with place.connect() as connection:
        assert connection.execute(sent.PARTITIONS, (5, 86_400)).fetchone() == (1,)
    assert days(place)[0] == day(-1)


@pytest.mark.parametrize("mode", ["cdc", "external"])
@pytest.mark.parametrize(("kept_days", "left"), [(1, [-1]), (3, [-3, -1])])
def test_the_relay_drops_the_days_that_its_window_has_passed(
    place: Place, mode: str, kept_days: int, left: list[int]
) -> None:
    for offset in (-5, -3, -1):
        make_old_partition(place, offset)
        with place.connect() as connection:
            connection.execute(
                """INSERT INTO amends.outbox_sent
                    (sent_at, topic_id, seq, id, aggregatetype, aggregateid, type, "timestamp", partition, kind)
                VALUES (now() + make_interval(days => %s), 'x', 1, gen_random_uuid(), 'ev', 'k', 'T', now(), 0, 'event')
                """,
                [offset],
            )
    with running(relay(place, mode, sent_kept_s=kept_days * 86_400.0)):
        eventually(lambda: days(place)[: len(left)] == [day(n) for n in left], 20, "the older days are dropped")
    assert place.count("outbox_sent") == len(left)
    assert days(place)[len(left) :] == [day(n) for n in range(SENT_DAYS_AHEAD + 1)]


def test_a_missing_day_is_made_when_the_first_ack_comes(place: Place) -> None:
    topic = place.topic("events")
    with reading(place, topic) as reader, running(relay(place)):
        place.await_state("streaming")
        with place.connect() as connection:
            connection.execute(f"DROP TABLE amends.outbox_sent_{day(0)}")
        place.add(row(topic, "k", b"0", kind="event"), row(topic, "k", b"1", kind="command"))
        reader.await_numbers({"k": 2})
        place.await_empty()
    assert place.count("outbox_sent") == 1


@pytest.mark.parametrize("kind", ["start", "message", "event", "command", "reply", None])
def test_only_what_nobody_else_could_send_again_is_kept(place: Place, kind: str | None) -> None:
    topic = place.topic("mixed")
    with running(relay(place, "polling")):
        headers = {"kind": kind} if kind else {}
        place.add(Row(topic=topic, key="k", type="T", payload=b"0", headers=headers))
        eventually(lambda: place.count() == 0, 20, "sent")
    kept = place.count("outbox_sent", "topic_id IS NOT NULL")
    assert kept == (0 if kind in ("command", "reply") else 1)


def test_the_quick_delete_takes_what_need_not_be_kept_and_nothing_else(place: Place) -> None:
    """Whoever chooses the statement and the statements themselves mean the same kinds."""
    topic, kinds = place.topic("mixed"), (*sorted(KINDS), None)
    place.add(*(Row(topic=topic, key="k", type="T", payload=b"0", headers={"kind": k} if k else {}) for k in kinds))
    with place.connect() as session:
        rows = TableReader(session).look((), 100).rows
        assert len(rows) == len(kinds)
        unkept = [row.seq for row in rows if not table.is_kept(row)]
        assert sorted(table.delete_unkept(session, [row.seq for row in rows])) == unkept
        left = [row.seq for row in rows if table.is_kept(row)]
        assert sorted(table.delete_sent(session, left, ["A"] * len(left))) == left
    assert place.count("outbox_sent") == len(left) == 4


def test_people_may_send_again_what_was_acknowledged_since(place: Place) -> None:
    topic = place.topic("events")
    with reading(place, topic) as reader, running(relay(place, "polling")):
        place.add(row(topic, "k", b"0", kind="event"), row(topic, "k", b"1", kind="event"))
        reader.await_numbers({"k": 2})
        eventually(lambda: place.count("outbox_sent") == 2, 10, "kept")
        with place.connect() as connection:
            since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
            assert sent.resend_since(connection, topic, since) == 2
        eventually(lambda: reader.read() and reader.doubles == 2, 20, "they came again")
        ids = [dict(message.headers())["id"] for message in reader.messages]
        assert ids[:2] == ids[2:]  # receivers know doubles by their id


def test_not_everybody_may_drop_what_was_sent(place: Place) -> None:
    """The function has its owner's rights, and drops whatever its caller does not want to keep: relays call it."""
    with place.connect() as connection:
        allowed = connection.execute(
            "SELECT a.grantee::regrole::text FROM pg_proc p, aclexplode(p.proacl) a "
            "WHERE p.proname = 'outbox_sent_partitions' AND a.grantee <> p.proowner"
        ).fetchall()
        assert allowed == [(role_name(roles.prefix(), "relay"),)]
        [(acl, settings)] = connection.execute(
            "SELECT proacl IS NOT NULL, proconfig FROM pg_proc WHERE proname = 'outbox_sent_partitions'"
        ).fetchall()
        assert acl  # NULL would mean the default: everybody
        assert "search_path=pg_catalog, pg_temp" in settings
