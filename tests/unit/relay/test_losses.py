"""What is wrong with a slot, told from what the database remembers, what the server has, and where its WAL is."""

from typing import Any

import pytest

from outbox_relay import slot, table
from outbox_relay.external import Janitor, Note
from outbox_relay.lease import Lease
from outbox_relay.limits import BEATS_LOST_MAX
from outbox_relay.slot import Noted, SlotStatus, why_lost

NAME, ORIGIN, WAL = "amends_relay_5", "77/1", 1_000
NOTED = Noted(NAME, ORIGIN)
NEVER = Noted(None, None)
SOUND = SlotStatus(active_pid=None, lost=False, confirmed=WAL, retained_bytes=0)
INVALID = SlotStatus(active_pid=None, lost=True, confirmed=WAL, retained_bytes=0)
AHEAD = SlotStatus(active_pid=None, lost=False, confirmed=WAL + 1, retained_bytes=0)


@pytest.mark.parametrize(
    ("before", "found"), [(NEVER, None), (NOTED, SOUND), (NEVER, SOUND)], ids=["never made", "sound", "made, not noted"]
)
def test_no_trouble(before: Noted, found: SlotStatus | None) -> None:
    assert why_lost(before, found, NAME, ORIGIN, WAL) is None


@pytest.mark.parametrize(
    ("before", "found", "said"),
    [
        (NOTED, None, "is gone"),
        (NOTED, INVALID, "was invalidated"),
        (NEVER, INVALID, "was invalidated"),
        (NOTED, AHEAD, "is of another time"),
        (NEVER, AHEAD, "is of another time"),
        (Noted("amends_relay_4", ORIGIN), None, "this database is a copy"),
        (Noted(NAME, "78/1"), SOUND, "Postgres is another one"),
        (Noted(NAME, "77/2"), None, "Postgres is another one"),
    ],
)
def test_each_loss_is_told_apart(before: Noted, found: SlotStatus | None, said: str) -> None:
    why = why_lost(before, found, NAME, ORIGIN, WAL)
    assert why is not None
    assert said in why


@pytest.mark.parametrize(
    ("seen", "now", "back"),
    [
        ((0, 0), (3, 9), False),
        ((3, 9), (3, 10), False),
        ((3, 900), (4, 901), False),
        ((3, 900), (3, 900 - BEATS_LOST_MAX), False),  # a crash of Postgres may have lost so many
        ((3, 900), (3, 899 - BEATS_LOST_MAX), True),
        ((3, 900), (2, 901), True),
    ],
)
def test_a_database_that_went_back_is_known_by_epoch_and_beat(
    monkeypatch: pytest.MonkeyPatch, seen: tuple[int, int], now: tuple[int, int], back: bool
) -> None:
    noted: list[str] = []
    monkeypatch.setattr(slot, "note_trouble", lambda _session, why: noted.append(why))
    lease, nowhere = Lease("postgresql://nowhere", "unit", lambda: ("starting", {})), Any
    lease._seen = seen
    lease._see(nowhere, now)  # type: ignore[arg-type]
    assert bool(noted) == back
    lease._see(nowhere, now)  # type: ignore[arg-type]
    assert len(noted) == back  # said once


def test_a_slot_that_is_born_where_the_wal_was_has_sent_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    deleted: list[int] = []
    monkeypatch.setattr(table, "delete_sent", lambda _session, seqs, _topic_ids: deleted.extend(seqs))
    nowhere: Any = None
    janitor = Janitor("unit", lease=nowhere, session=nowhere, house=nowhere, slot_name="other", sent_kept_s=0.0)
    janitor._notes.append(Note(WAL, [1], [None]))
    janitor._delete(WAL)
    assert deleted == []
    janitor._delete(WAL + 1)
    assert deleted == [1]
