"""The three kinds of work that go through `batches`: requests from Kafka, ends of calls, events that waited."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from orchestrator.contracts import Event
from orchestrator.log_fields import Handled, handling
from orchestrator.participant import dead, inbox_events, spans
from orchestrator.participant.commands import apply_command, apply_settled, apply_undo
from orchestrator.participant.connection import Lane, Place
from orchestrator.participant.ends import apply_end
from orchestrator.participant.handlers import EventHandler
from orchestrator.participant.inbox_events import WaitingEvent
from orchestrator.participant.outcomes import Ended
from orchestrator.participant.requests import (
    CommandRequest,
    DeadRequest,
    EventRequest,
    Request,
    SettledRequest,
    UndoRequest,
)
from orchestrator.participant.requests import (
    dead as dead_request,
)
from orchestrator.participant.service import LOG
from orchestrator.participant.unit import Unit

RECORD_ATTEMPTS_MAX = 5
RECORD_PAUSE_S = 0.5


class RequestWork:
    """Messages, in the order in which Kafka gave them."""

    place: Place = "requests"

    def __init__(self, lane: Lane, participant: str) -> None:
        self._lane = lane
        self._participant = participant

    async def lock(self, unit: Unit, items: Sequence[Request], verdict: Exception | None) -> None:
        asked = {item.key for item in items if isinstance(item, CommandRequest | UndoRequest)}
        await unit.lock(asked, _only_settled(items, asked))
        events = [item for item in items if isinstance(item, EventRequest)]
        # Judged and found wanting, an event waits for its next attempt out of everybody's way.
        unit.new_events = await inbox_events.note(unit.connection, self._participant, events, wait=verdict is not None)

    async def apply(self, unit: Unit, item: Request, verdict: Exception | None) -> None:
        match item:
            case CommandRequest():
                await apply_command(unit, item, verdict)
            case UndoRequest():
                await apply_undo(unit, item, verdict)
            case SettledRequest():
                apply_settled(unit, item)
            case EventRequest():
                if unit.new_events.pop(item.event_id, True) is False and item.event is not None:
                    await run_event(unit, item.handler, item.event, item.event_id, item.traceparent, item.topic)
            case DeadRequest():
                LOG.error(
                    "%s[%d]@%d: %s: kept in amends.inbox_dead", item.topic, item.partition, item.offset, item.error
                )
                await dead.keep(unit.connection, self._participant, item)

    async def give_up(self, item: Request, error: Exception) -> None:
        at = item if isinstance(item, DeadRequest) else dead_request(item.at, f"{type(error).__name__}: {error}")
        async with self._lane.transaction("dead") as connection:
            await dead.keep(connection, self._participant, at)

    def retries(self, _item: Request, _error: Exception) -> bool:
        return False


def _only_settled(items: Sequence[Request], asked: Collection[str]) -> dict[str, datetime]:
    """Keys that these notices settle and nothing else here is about, and until when something old can come."""
    found: dict[str, datetime] = {}
    for item in items:
        if isinstance(item, SettledRequest):
            for key in item.keys:
                if key not in asked:
                    found[key] = max(item.expires_at, found.get(key, item.expires_at))
    return found


class EndWork:
    """Ends of calls. `record` gets a few chances over some seconds: what it trips over may be gone by then."""

    place: Place = "ends"

    def __init__(self, again: Callable[[Ended, float], None]) -> None:
        self._again = again

    async def lock(self, unit: Unit, items: Sequence[Ended], _verdict: Exception | None) -> None:
        await unit.lock({item.call.key for item in items})

    async def apply(self, unit: Unit, item: Ended, verdict: Exception | None) -> None:
        with handling(item.call.handled):
            await apply_end(unit, item, verdict)

    async def give_up(self, item: Ended, error: Exception) -> None:
        with handling(item.call.handled):
            text = "inbox %s: its end can't be stored; a scan looks it up after its deadline: %s"
            LOG.error(text, item.call.key, error)

    def retries(self, item: Ended, error: Exception) -> bool:
        if item.tries + 1 >= RECORD_ATTEMPTS_MAX:
            return False
        with handling(item.call.handled):
            name = type(error).__name__
            LOG.warning("inbox %s: the end of its call is not stored yet: %s: %s", item.call.key, name, error)
        self._again(replace(item, tries=item.tries + 1), RECORD_PAUSE_S * (item.tries + 1))
        return True


@dataclass(frozen=True, slots=True)
class ReadyEvent:
    """A claimed event. `ended`: its external handler has run, and raised `error` or not."""

    waiting: WaitingEvent
    handler: EventHandler | None
    event: Event | None
    ended: bool = False
    error: Exception | None = None
    retry_after_s: float | None = None
    published: tuple[Event, ...] = ()


class EventWork:
    """Events that waited: run the local handler, or store how the external one ended."""

    place: Place = "events"

    def __init__(self, participant: str) -> None:
        self._participant = participant

    async def lock(self, unit: Unit, items: Sequence[ReadyEvent], _verdict: Exception | None) -> None:
        waiting = [item.waiting for item in items]
        await unit.lock(())
        unit.held_events = await inbox_events.held(unit.connection, self._participant, waiting)

    async def apply(self, unit: Unit, item: ReadyEvent, verdict: Exception | None) -> None:
        if item.waiting.event_id not in unit.held_events:
            return
        error = verdict or item.error
        if error is None and not item.ended:
            assert item.handler is not None
            assert item.event is not None
            at = item.waiting
            await run_event(unit, item.handler, item.event, at.event_id, at.traceparent, at.topic, at.attempts)
        if error is None:
            unit.publish(item.published)
        judged = inbox_events.verdict_on(item.waiting, error, retry_after_s=item.retry_after_s)
        if judged.state == "parked":
            LOG.error("event %s (%s): parked after %d attempts: %s", item.waiting.event_id, item.waiting.type,
                      judged.attempts, judged.error)  # fmt: skip
        await inbox_events.end(unit.connection, self._participant, item.waiting.event_id, judged)

    async def give_up(self, item: ReadyEvent, error: Exception) -> None:
        LOG.error("event %s: its end can't be stored: %s", item.waiting.event_id, error)

    def retries(self, _item: ReadyEvent, _error: Exception) -> bool:
        return False


async def run_event(
    unit: Unit,
    handler: EventHandler,
    event: Event,
    event_id: str,
    traceparent: str | None,
    topic: str,
    attempt: int = 1,
) -> None:
    """Run a local event handler in this transaction."""

    def attributes() -> spans.Attributes:
        return spans.process_attributes(topic, unit.service.name, event_id)

    handled = Handled(event_id, attempt, traceparent, event_type=event.__wire_name__)
    with handling(handled), spans.handling(f"process {event.__wire_name__}", traceparent, attributes):
        await unit.run(handler.function, event, key=event_id, attempt=attempt)
