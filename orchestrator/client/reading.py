"""Read what the database knows of sagas, for `describe`, `amends ls`, `show`, `trace`, the console. Writes nothing."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from orchestrator.canonical import checked_saga_id
from orchestrator.client import statements
from orchestrator.client.answers import (
    Description,
    JournalRow,
    Record,
    SagaRow,
    Takeover,
    VerbRow,
    as_status,
)
from orchestrator.client.requests import Steps, not_found
from orchestrator.client.statements import Query
from orchestrator.errors import SagaNotFound, VerbNotFound
from orchestrator.story import read_story, waiting_for

NEWEST = 2**63 - 1  # of a bigint: a first page begins with whatever is the newest then
CHILD_DEPTH_MAX = 5
CHILDREN_MAX = 100


def parked(rows_max: int = 100) -> Steps[list[SagaRow]]:
    """Sagas that wait for a person: stuck or blocked, the oldest first."""
    rows = yield Query(statements.SELECT_PARKED, {"rows_max": rows_max})
    return [saga_row(row) for row in rows]


def counts() -> Steps[dict[str, int]]:
    """How many sagas there are of each status."""
    rows = yield Query(statements.COUNT_BY_STATUS)
    return {str(status): int(count) for status, count in rows}


def describe(saga_id: str) -> Steps[Description]:
    """One saga as it is now."""
    found = yield from record(saga_id)
    saga = found.saga
    return Description(
        id=saga.id,
        type=saga.type,
        version=saga.version,
        status=saga.status,
        started_at=saga.started_at,
        ended_at=saga.ended_at,
        waiting_for=() if saga.ended_at else waiting_for(read_story([row.body for row in found.journal])),
        values=found.values,
        error=saga.error,
    )


def row(saga_id: str) -> Steps[SagaRow]:
    """One saga's row. Raises SagaNotFound."""
    rows = yield Query(statements.SELECT_SAGA, {"id": checked_saga_id(saga_id)})
    if not rows:
        raise SagaNotFound(not_found(saga_id))
    return saga_row(rows[0])


def rows_of(saga_nos: Sequence[int]) -> Steps[list[SagaRow]]:
    """The rows of these sagas, as far as they are there."""
    rows = yield Query(statements.SELECT_ROWS, {"saga_nos": [*saga_nos]})
    return [saga_row(row) for row in rows]


def record(saga_id: str) -> Steps[Record]:
    """The saga's row, values and journal. Raises SagaNotFound."""
    rows = yield Query(statements.SELECT_SAGA, {"id": checked_saga_id(saga_id)})
    if not rows:
        raise SagaNotFound(not_found(saga_id))
    saga_no = rows[0][0]
    uid, parent_id, input_json, result_json, left_undone, traceparent = rows[0][9:15]
    values = yield Query(statements.SELECT_VALUES, {"saga_no": saga_no})
    rows_read = yield Query(statements.SELECT_JOURNAL, {"saga_no": saga_no, "from_pos": 0})
    turns = tuple(JournalRow(int(pos), wake_us, json.loads(body)) for pos, wake_us, body in rows_read)
    return Record(
        saga=saga_row(rows[0]),
        uid=str(uid),
        parent_id=parent_id,
        # The row has it until the first turn does.
        input=turns[0].body[0].get("input") if input_json is None else json.loads(input_json),
        result=_loads(result_json),
        problem=_loads(rows[0][8]),
        left_undone=tuple(left_undone or ()),
        traceparent=traceparent,
        values={str(key): json.loads(value) for key, value in values},
        journal=turns,
    )


def whole_record(saga_id: str, depth: int = 0) -> Steps[Record]:
    """The record with its verbs, the takeovers it survived, and its children's records (five generations)."""
    found = yield from record(saga_id)
    verbs = yield Query(statements.SELECT_VERBS, {"id": saga_id})
    takeovers = yield Query(statements.SELECT_TAKEOVERS, {"id": saga_id})
    children: list[Record] = []
    for child_id in (yield from _child_ids(found)) if depth < CHILD_DEPTH_MAX else ():
        child = yield from whole_record(child_id, depth + 1)
        children.append(child)
    return replace(
        found,
        verbs=tuple(verb_row(row) for row in verbs),
        takeovers=tuple(Takeover(int(at_us), int(epoch), str(name)) for at_us, epoch, name in takeovers),
        children=tuple(children),
    )


def verb(verb_no: int) -> Steps[VerbRow]:
    """A verb that was given, and what came of it so far."""
    rows = yield Query(statements.SELECT_VERB, {"verb_no": verb_no})
    if not rows:
        raise VerbNotFound(f"no verb has the number {verb_no}")
    return verb_row(rows[0])


def verbs(saga_id: str) -> Steps[tuple[VerbRow, ...]]:
    """The words that a saga was given, the oldest first; of a saga that is not there yet, too."""
    rows = yield Query(statements.SELECT_VERBS, {"id": checked_saga_id(saga_id)})
    return tuple(verb_row(row) for row in rows)


def verbs_given(before: int | None, rows_max: int) -> Steps[tuple[tuple[VerbRow, ...], int | None]]:
    """The words that all sagas were given, the newest first, and before which the next page is; None: there is none."""
    params = {"before": NEWEST if before is None else before, "rows_max": rows_max + 1}
    rows = yield Query(statements.SELECT_VERBS_GIVEN, params)
    found = tuple(verb_row(row) for row in rows[:rows_max])
    return found, found[-1].verb_no if len(rows) > rows_max else None


def journal_page(
    saga_id: str, from_pos: int, rows_max: int, bytes_max: int
) -> Steps[tuple[list[JournalRow], int | None]]:
    """Some of a saga's journal, and where the next page begins; None: there is no turn behind it so far.

    `bytes_max` may be passed by the last turn. Raises SagaNotFound.
    """
    rows = yield Query(statements.SELECT_SAGA, {"id": checked_saga_id(saga_id)})
    if not rows:
        raise SagaNotFound(not_found(saga_id))
    params = {"saga_no": rows[0][0], "from_pos": from_pos, "rows_max": rows_max, "bytes_max": bytes_max}
    rows = yield Query(statements.SELECT_JOURNAL_PAGE, params)
    turns = [JournalRow(int(pos), wake_us, json.loads(body)) for pos, wake_us, body in rows]
    if not turns:
        return [], None
    next_pos = turns[-1].pos + 1
    more = yield Query(statements.HAS_TURN, {"saga_no": params["saga_no"], "from_pos": next_pos})
    return turns, next_pos if more[0][0] else None


def answers() -> Steps[None]:
    """Ask the database for nothing but an answer."""
    yield Query(statements.ANSWERS)


def journal_from(saga_id: str, from_pos: int) -> Steps[tuple[SagaRow, list[JournalRow]]]:
    """The saga's row and its journal from a position on: `amends watch` asks again and again."""
    rows = yield Query(statements.SELECT_SAGA, {"id": checked_saga_id(saga_id)})
    if not rows:
        raise SagaNotFound(not_found(saga_id))
    turns = yield Query(statements.SELECT_JOURNAL, {"saga_no": rows[0][0], "from_pos": from_pos})
    return saga_row(rows[0]), [JournalRow(int(pos), wake_us, json.loads(body)) for pos, wake_us, body in turns]


def saga_row(row: Sequence[Any]) -> SagaRow:
    """The first nine columns of SELECT_SAGA, and those of a page."""
    _, id, type, version, status, shard, started_at, ended_at, problem = row[:9]
    return SagaRow(id, type, version, as_status(status), shard, started_at, ended_at, error_text(_loads(problem)))


def verb_row(row: Sequence[Any]) -> VerbRow:
    """The columns of SELECT_VERBS."""
    return VerbRow(*row)


def error_text(problem: dict[str, Any] | None) -> str | None:
    """A problem in one line."""
    if problem is None:
        return None
    type_name, text = str(problem.get("type", "Error")), str(problem.get("text", ""))
    # A Failure's text begins with its class already.
    return text if text.startswith(type_name) else f"{type_name}: {text}" if text else type_name


def _child_ids(found: Record) -> Steps[list[str]]:
    started = [d["id"] for row in found.journal for d in row.body[1:] if d.get("op") == "child"]
    if not started:
        return []
    params = {"ids": started[:CHILDREN_MAX], "id": found.saga.id}
    rows = yield Query(statements.SELECT_CHILDREN, params)
    return [str(row[0]) for row in rows]


def _loads(text: str | None) -> Any:
    return None if text is None else json.loads(text)
