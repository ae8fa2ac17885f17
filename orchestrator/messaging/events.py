"""Domain events as outbox rows: what `outbox.add(connection, event)` and `ctx.publish(event)` write."""

from orchestrator import limits
from orchestrator.contracts import Event
from orchestrator.errors import PayloadError
from orchestrator.messaging import avro, framing
from orchestrator.messaging.topics import Topics, topics_of_environment
from outbox_relay.rows import Row


def event_row(
    event: Event, *, topics: Topics | None = None, event_id: str | None = None, traceparent: str | None = None
) -> Row:
    """The row of an event. `topics` None: those of AMENDS_TOPIC_PREFIX; `event_id` None: a random one.

    Raises PayloadError for a value that can't travel and for an empty key.
    """
    if topics is None and framing.wants_of_environment(type(event)):
        framing.prepare_of_environment(type(event))
    body = event.model_dump(mode="json")
    return published_row(
        topic=(topics or topics_of_environment()).events(event.__topic__),
        key=event_key(event),
        wire_name=event.__wire_name__,
        payload=avro.encode(type(event), body),
        event_id=event_id,
        traceparent=traceparent,
    )


def published_row(
    *, topic: str, key: str, wire_name: str, payload: bytes, event_id: str | None, traceparent: str | None
) -> Row:
    """The row of an event that is encoded already. `event_id` is how consumers know doubles."""
    headers = {"kind": "event"}
    if traceparent is not None:
        headers["traceparent"] = traceparent
    return Row(topic=topic, key=key, type=wire_name, payload=payload, headers=headers, id=event_id)


def event_key(event: Event) -> str:
    """The text of the field that orders this event. Raises PayloadError when there is none."""
    body = event.model_dump(mode="json", include={event.__key__})
    key = body[event.__key__]
    if key is None or key == "" or isinstance(key, list | dict):
        raise PayloadError(
            f"{event.__wire_name__}.{event.__key__} is {key!r}: the key of an event is text or a number, and not empty"
        )
    text = key if isinstance(key, str) else str(key)
    if len(text.encode()) > limits.HEADER_BYTES_MAX:
        raise PayloadError(f"{event.__wire_name__}.{event.__key__}: a key of more than {limits.HEADER_BYTES_MAX} bytes")
    return text
