"""Journal -> live saga. What is decided again must be what was recorded, else the saga is blocked (rule 18)."""

import json
from collections.abc import Iterable
from itertools import islice
from typing import Any

from orchestrator.core.blocked import Blocked, blocked
from orchestrator.core.decisions import Turn
from orchestrator.core.entries import Entry, Json, entry_from_json, entry_to_json
from orchestrator.core.ids import SagaIdentity
from orchestrator.core.saga_type import SagaType
from orchestrator.core.state import file_and_line
from orchestrator.core.turn import LiveSaga

_SHOWN_CHARS_MAX = 300
_AT_ONCE = 50  # rows, between which a thread stays in the saga: to come and go costs as much as a part of the turn


def journal_body(entry: Entry, turn: Turn) -> list[Json]:
    """What is stored of a turn: the entry, then what was decided."""
    return [entry_to_json(entry), *[decision.to_json() for decision in turn.decisions]]


def replay(saga_type: SagaType[Any, Any], identity: SagaIdentity, rows: Iterable[list[Json]]) -> LiveSaga:
    """The saga as it was after the last row. Raises Blocked with a report if the code at hand decides otherwise."""
    live = LiveSaga(saga_type, identity)
    unread = iter(rows)
    try:
        while at_once := list(islice(unread, _AT_ONCE)):
            with live.replaying():
                for row in at_once:
                    _repeat(live, row)
    except BaseException:
        live.evict()
        raise
    return live


def _repeat(live: LiveSaga, row: list[Json]) -> None:
    try:
        ignored = live.advance(entry_from_json(row[0]))
    except Blocked as error:
        raise _mismatch(live, f"the code at hand is refused here: {error}", row[1:], None) from error
    if ignored is not None:
        raise _mismatch(live, f"the code at hand ignores this entry: {ignored}", row[1:], None)
    decided = [decision.to_json() for decision in live.decided]
    if decided == row[1:]:
        return
    replayed = json.loads(json.dumps(decided))  # What only JSON makes alike, as a tuple and a list, is alike.
    if replayed == row[1:]:
        return
    for index in range(max(len(replayed), len(row) - 1)):
        was = row[index + 1] if index + 1 < len(row) else None
        now = replayed[index] if index < len(replayed) else None
        if was != now:
            raise _mismatch(live, _where(live, index) if now is not None else "", was, now, fed=True)


def _where(live: LiveSaga, index: int) -> str:
    site = live.site_of(index)
    return f"at {file_and_line(site)}" if site is not None else ""


def _mismatch(live: LiveSaga, where: str, was: Json, now: Json, *, fed: bool = False) -> Blocked:
    position = live.position - 1 if fed else live.position
    identity = live.identity
    return blocked(
        "ReplayMismatch",
        f"saga {identity.id} ({identity.type} version {identity.version}), journal position {position}: "
        f"recorded {_shown(was)}, the code at hand decides {_shown(now)} {where}".rstrip()
        + ". Nothing was changed. Was the saga function changed under sagas that run? Deploy the code that wrote this "
        f"journal (or give the new one another version=), then: amends unblock {identity.id}",
    )


def _shown(value: Json) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARS_MAX else text[: _SHOWN_CHARS_MAX - 1] + "…"
