"""List sagas, the newest first, a page at a time: for `Client.list`, `amends ls`, the HTTP API.

A page ends where it is full, or where so many sagas were looked at that one request has done enough; its cursor says
where the next one begins. It names a place in the order in which sagas are made, so sagas that begin between two pages
move nothing: none is shown twice, and none that was there at the first page is left out.
"""

import base64
import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import LiteralString, get_args

from orchestrator import limits
from orchestrator.canonical import checked_name
from orchestrator.client import statements
from orchestrator.client.answers import ENDED, PARKED, Page, Status, as_status
from orchestrator.client.reading import NEWEST, saga_row
from orchestrator.client.requests import Duration, Steps, seconds
from orchestrator.client.statements import Query
from orchestrator.errors import RequestError

AGE_S_MAX = timedelta(days=36_500).total_seconds()  # a hundred years: what Postgres can count back from now


@dataclass(frozen=True, slots=True)
class Filters:
    """What a saga must be to be listed. Empty, None: whatever it is."""

    statuses: tuple[Status, ...] = ()
    type: str | None = None
    contains: str = ""
    older_than_s: float | None = None

    @property
    def is_empty(self) -> bool:
        return self == Filters()


def page(
    *,
    status: Status | Collection[Status] | None = None,
    type: str | None = None,
    contains: str = "",
    older_than: Duration | None = None,
    cursor: str | None = None,
    rows_max: int = limits.LISTED_DEFAULT,
) -> Steps[Page]:
    """One page. Raises RequestError for a filter that can't be, and for a cursor that is none of this list."""
    filters = checked(status, type, contains, older_than)
    if not 1 <= rows_max <= limits.LISTED_MAX:
        raise RequestError(f"a page has 1 to {limits.LISTED_MAX} rows, not {rows_max}")
    upto = NEWEST if cursor is None else place_of(cursor, filters)
    params = {
        "statuses": [*filters.statuses] or None,
        "type": filters.type,
        "contains": filters.contains,
        "older_than_s": filters.older_than_s,
        "upto": upto,
        "looked_at_max": rows_max + 1 if filters.is_empty else limits.LISTED_LOOKED_AT_MAX,
        "rows_max": rows_max + 1,
    }
    rows = yield Query(_source(filters), params)
    # One row is always there: it tells where the look ended, also if no saga was found.
    next_no = rows[0][0]
    found = [row[1:] for row in rows if row[1] is not None]
    if len(found) > rows_max:
        next_no = found[rows_max][0]
    sagas = tuple(saga_row(row) for row in found[:rows_max])
    return Page(sagas, None if next_no is None else cursor_of(int(next_no), filters))


def checked(
    status: Status | Collection[Status] | None, type: str | None, contains: str, older_than: Duration | None
) -> Filters:
    """The filters of a list. Raises RequestError."""
    given = () if status is None else (status,) if isinstance(status, str) else tuple(status)
    if unknown := sorted(str(one) for one in given if one not in get_args(Status)):
        raise RequestError(f"{', '.join(unknown)}: no status; there are {', '.join(get_args(Status))}")
    older_than_s = seconds(older_than)
    if older_than_s is not None and not 0 <= older_than_s <= AGE_S_MAX:
        raise RequestError(f"older_than is 0 s to {AGE_S_MAX:.0f} s (a hundred years), not {older_than_s} s")
    checked_name("a part of an id", contains, empty=True)
    if type is not None:
        checked_name("a saga's type", type)
    return Filters(tuple(as_status(one) for one in sorted(set(given))), type, contains, older_than_s)


def cursor_of(next_no: int, filters: Filters) -> str:
    """Where the next page of this list begins, as a text that says nothing to anybody else."""
    return base64.urlsafe_b64encode(json.dumps([next_no, _digest(filters)]).encode()).decode().rstrip("=")


def place_of(cursor: str, filters: Filters) -> int:
    """The number of the saga with which the page begins. Raises RequestError."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        next_no, digest = json.loads(base64.b64decode(padded, b"-_", validate=True))
    except (ValueError, TypeError, RecursionError):
        raise _no_cursor(cursor) from None
    if type(next_no) is not int or not 0 <= next_no <= NEWEST:
        raise _no_cursor(cursor)
    if digest != _digest(filters):
        raise RequestError("this cursor belongs to a list with other filters: repeat them, or begin without a cursor")
    return next_no


def _no_cursor(text: str) -> RequestError:
    return RequestError(f"{text[:40]!r} is no cursor of a list of sagas: take `next_cursor` as it was given")


def _digest(filters: Filters) -> str:
    """Tells lists apart, so that a cursor is not taken along into another one."""
    told = json.dumps([filters.statuses, filters.type, filters.contains, filters.older_than_s])
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _source(filters: Filters) -> LiteralString:
    """Those that wait for a person, or have not ended, are few beside those that have: there is an index of each."""
    if filters.statuses and set(filters.statuses) <= set(PARKED):
        return statements.SELECT_PAGE_OF_PARKED
    if filters.statuses and not set(filters.statuses) & set(ENDED):
        return statements.SELECT_PAGE_OF_OPEN
    return statements.SELECT_PAGE
