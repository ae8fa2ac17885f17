"""Events that wait in `amends.inbox_events`: claimed one of each key, handled here or outside, and stored."""

import asyncio
import time
from typing import Any

from orchestrator.log_fields import Handled
from orchestrator.log_fields import handling as log_handling
from orchestrator.messaging import avro
from orchestrator.participant import inbox_events, spans
from orchestrator.participant.batches import Batches
from orchestrator.participant.breaker import Refused
from orchestrator.participant.calls import Bulkheads
from orchestrator.participant.connection import Lane, until_connected
from orchestrator.participant.handling import published
from orchestrator.participant.inbox_events import WaitingEvent
from orchestrator.participant.service import LOG, Service
from orchestrator.participant.waiting import all_ended, set_or_later
from orchestrator.participant.work import EventWork, ReadyEvent

FOLLOW_S = 0.5
CLAIM_ROWS_MAX = 50
HOLD_SLACK_S = 5.0


class Follower:
    """The task that handles waiting events."""

    def __init__(self, service: Service, lane: Lane) -> None:
        self._service = service
        self._lane = lane
        self._bulkheads = Bulkheads()
        self._batches: Batches[ReadyEvent] = Batches(service, lane, EventWork(service.name), _no_calls)
        self._out: set[asyncio.Task[None]] = set()
        self._bell = asyncio.Event()
        handlers = service.participant.event_handlers.values()
        self._local = [type for type, h in service.participant.event_handlers.items() if h.options is None]
        self._hold_s = max((h.options.timeout_s for h in handlers if h.options), default=30.0) + HOLD_SLACK_S

    def ring(self) -> None:
        """Something may be waiting."""
        self._bell.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                taken = await until_connected(self._handle_due, self._service.name)
            except Exception:
                LOG.exception("%s: waiting events not handled; again in %g s", self._service.name, FOLLOW_S)
                taken = 0
            if not taken:
                self._bell.clear()
                await set_or_later(self._bell, FOLLOW_S)

    async def drain(self, seconds: float) -> None:
        """Let calls end; others are tried again after their deadline."""
        if self._out:
            await asyncio.wait(list(self._out), timeout=seconds)
        await all_ended(list(self._out))

    async def _handle_due(self) -> int:
        room = CLAIM_ROWS_MAX - len(self._out)
        if room <= 0:
            return 0
        before = time.monotonic()
        async with self._lane.transaction("claim") as connection:
            claimed = await inbox_events.claim(connection, self._service.name, room, self._hold_s, self._local)
        local: list[ReadyEvent] = []
        for event in claimed:
            ready = self._ready(event)
            if ready.handler is None or ready.handler.options is None:
                local.append(ready)
            else:
                task = asyncio.create_task(self._call_out(ready, before + self._hold_s))
                self._out.add(task)
                task.add_done_callback(self._called)
        if local:
            await self._batches.run(local)
        return len(claimed)

    def _called(self, task: asyncio.Task[None]) -> None:
        self._out.discard(task)
        self.ring()
        if not task.cancelled() and (error := task.exception()) is not None:
            LOG.error("%s: an event's handling ended without an outcome", self._service.name, exc_info=error)

    def _ready(self, event: WaitingEvent) -> ReadyEvent:
        try:
            parsed, handler = inbox_events.parsed(event, self._service.participant)
        except avro.SchemaPending as pending:
            return ReadyEvent(event, None, None, ended=True, error=pending, retry_after_s=FOLLOW_S)  # no attempt of its
        except Exception as error:
            return ReadyEvent(event, None, None, ended=True, error=error)
        return ReadyEvent(event, handler, parsed)

    async def _call_out(self, ready: ReadyEvent, give_up_at: float) -> None:
        assert ready.handler is not None
        options = ready.handler.options
        assert options is not None
        async with self._bulkheads.place(ready.handler, options.concurrency):
            if time.monotonic() + options.timeout_s > give_up_at:
                ended = _ended(ready, retry_after_s=0.0, error=TimeoutError("not begun in time"))
            else:
                ended = await self._guarded(ready)
        await self._batches.run([ended])

    async def _guarded(self, ready: ReadyEvent) -> ReadyEvent:
        assert ready.handler is not None
        assert ready.handler.options is not None
        breaker = self._service.breaker_of(ready.handler.options)
        if breaker is None:
            return await self._handled(ready)
        try:
            return await breaker.guard(self._hold_s, lambda: self._handled(ready))
        except Refused as refused:
            return _ended(ready, error=refused, retry_after_s=refused.retry_after_s)

    async def _handled(self, ready: ReadyEvent) -> ReadyEvent:
        assert ready.handler is not None
        assert ready.handler.options is not None
        waiting = ready.waiting
        handling = self._service.handling(key=waiting.event_id, attempt=waiting.attempts, saga_id="", expires_at=None)

        def attributes() -> spans.Attributes:
            return spans.process_attributes(waiting.topic, self._service.name, waiting.event_id)

        try:
            handled = Handled(waiting.event_id, waiting.attempts, waiting.traceparent, event_type=waiting.type)
            with log_handling(handled), spans.handling(f"process {waiting.type}", waiting.traceparent, attributes):
                async with asyncio.timeout(ready.handler.options.timeout_s):
                    await ready.handler.function(ready.event, handling)
        except Exception as error:
            return _ended(ready, error=error)
        return ReadyEvent(waiting, ready.handler, ready.event, ended=True, published=published(handling))


def _ended(ready: ReadyEvent, *, error: Exception, retry_after_s: float | None = None) -> ReadyEvent:
    return ReadyEvent(ready.waiting, ready.handler, ready.event, ended=True, error=error, retry_after_s=retry_after_s)


def _no_calls(_call: Any) -> None:
    raise AssertionError("an event asks for no call of the inbox")
