"""Which spans came to their end with the turns of a batch: the journal read again, up to these turns and no further.

So the same turn gives the same spans, whoever exports it and how often. Stories that go on are kept in memory, so that
a saga of a thousand turns is not read a thousand times; what is kept is only ever a shortcut.
"""

import json
import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from pydantic_core import from_json

from orchestrator import limits
from orchestrator.engine import fence, journal, sagas, span_queue
from orchestrator.story import Story, advance, end_unseen
from orchestrator.tracing import ids
from orchestrator.tracing.spans import SagaFacts, Span, Takeover, ended_spans

log = logging.getLogger("orchestrator.engine.spans")

_LAST_POSITION = 2**31 - 1


@dataclass(slots=True)
class _Told:
    """A saga's story so far. `next_pos` is the position that it has not been told yet; `size` is what it is kept as."""

    facts: SagaFacts
    story: Story = field(default_factory=Story)
    next_pos: int = 0
    size: int = 0


@dataclass(slots=True)
class _Wanted:
    """The turns of one saga whose spans are asked for, each with the takeovers up to the epoch of its commit.

    Under the same epoch they are the same ones, however many there have been since.
    """

    takeovers: dict[int, list[Takeover]] = field(default_factory=dict)

    @property
    def first(self) -> int:
        return min((pos for pos in self.takeovers if pos != span_queue.END_UNSEEN), default=_LAST_POSITION)

    @property
    def last(self) -> int:
        return _LAST_POSITION if span_queue.END_UNSEEN in self.takeovers else max(self.takeovers)


class Spans:
    """Derives spans. One instance an exporter; not for several threads."""

    def __init__(self, topics_prefix: str) -> None:
        self._prefix = topics_prefix
        self._told: OrderedDict[int, _Told] = OrderedDict()
        self._size = 0  # of all that are kept
        self._takeovers: dict[int, tuple[int, list[Takeover]]] = {}

    def forget(self) -> None:
        """The next spans are derived from the journal alone: the database may be another one."""
        self._told.clear()
        self._size = 0
        self._takeovers.clear()

    def of(self, connection: psycopg.Connection[Any], rows: Sequence[span_queue.Row]) -> list[Span]:
        """The spans that ended with the turns of these rows."""
        wanted = self._wanted(connection, rows)
        told_by_saga = self._stories(connection, wanted)
        since = [(saga_no, told.next_pos, wanted[saga_no].last) for saga_no, told in told_by_saga.items()]
        turns = journal.read_between(connection, since)
        unseen = [saga_no for saga_no in told_by_saga if span_queue.END_UNSEEN in wanted[saga_no].takeovers]
        ends = sagas.ends(connection, unseen) if unseen else {}
        spans: list[Span] = []
        for saga_no, told in told_by_saga.items():
            try:
                spans += self._tell(told, turns.get(saga_no, []), wanted[saga_no], ends.get(saga_no))
            except Exception:
                # A trace is never worth the export of all others; the saga itself does not depend on it.
                log.exception("saga_no %s: its journal can't be told as spans, they are left out. Report this", saga_no)
                told.story.ended_us = told.story.ended_us or 0
            self._keep(saga_no, told)
        return spans

    def _wanted(self, connection: psycopg.Connection[Any], rows: Sequence[span_queue.Row]) -> dict[int, _Wanted]:
        wanted: dict[int, _Wanted] = {}
        until: dict[tuple[int, int], list[Takeover]] = {}
        for row in rows:
            place = row.shard, row.epoch
            if place not in until:
                until[place] = self._takeovers_until(connection, *place)
            for saga_no, pos in zip(row.saga_nos, row.positions, strict=True):
                if (of_saga := wanted.get(saga_no)) is None:
                    of_saga = wanted[saga_no] = _Wanted()
                of_saga.takeovers[pos] = until[place]
        return wanted

    def _takeovers_until(self, connection: psycopg.Connection[Any], shard: int, epoch: int) -> list[Takeover]:
        newest, takeovers = self._takeovers.get(shard, (-1, []))
        if newest < epoch:
            seen = fence.takeovers(connection, shard, epoch, limits.SPAN_TAKEOVERS_MAX)
            takeovers = [Takeover(*one) for one in seen]
            self._takeovers[shard] = epoch, takeovers
        return [takeover for takeover in takeovers if takeover.epoch <= epoch]

    def _stories(self, connection: psycopg.Connection[Any], wanted: dict[int, _Wanted]) -> dict[int, _Told]:
        found: dict[int, _Told] = {}
        missing = []
        for saga_no, of_saga in wanted.items():
            told = self._told.pop(saga_no, None)
            self._size -= 0 if told is None else told.size
            if told is not None and told.next_pos <= of_saga.first:
                found[saga_no] = told
            else:
                missing.append(saga_no)
        rows = sagas.find_by_number(connection, missing) if missing else {}
        found |= {saga_no: _Told(_facts(row, self._prefix)) for saga_no, row in rows.items()}
        return {saga_no: told for saga_no, told in found.items() if ids.is_sampled(told.facts.traceparent)}

    def _tell(
        self, told: _Told, turns: Iterable[tuple[int, str]], wanted: _Wanted, end: sagas.End | None
    ) -> Iterator[Span]:
        for pos, body in turns:
            ended = advance(told.story, _parsed(body))
            told.next_pos = pos + 1
            for operation in ended.operations:
                operation.body = None  # it may be large, and no span shows it
            if (takeovers := wanted.takeovers.get(pos)) is not None:
                yield from ended_spans(told.facts, told.story, ended, takeovers)
        if end is not None and told.story.ended_us is None:
            ended = end_unseen(told.story, at_us=end.at_us, error_type=end.error_type, error_text=end.error_text)
            yield from ended_spans(told.facts, told.story, ended, wanted.takeovers[span_queue.END_UNSEEN])

    def _keep(self, saga_no: int, told: _Told) -> None:
        if told.story.ended_us is not None:
            return
        self._told[saga_no] = told
        told.size = 1 + len(told.story.operations)
        self._size += told.size
        while self._size > limits.SPAN_OPERATIONS_MAX:
            _, oldest = self._told.popitem(last=False)
            self._size -= oldest.size


def _parsed(body: str) -> Any:
    """A turn. pydantic's parser takes half of json's time, but refuses what is nested deeply."""
    try:
        return from_json(body)
    except ValueError:
        return json.loads(body)


def _facts(row: sagas.SagaRow, prefix: str) -> SagaFacts:
    return SagaFacts(row.id, row.uid, row.type, row.version, row.traceparent, prefix)
