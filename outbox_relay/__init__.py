"""The outbox by itself: no saga needed, no import of `orchestrator`.

Loaded lazily: a service that only adds rows does not load the Kafka client.
"""

from typing import TYPE_CHECKING, Any

from outbox_relay import outbox as outbox
from outbox_relay.rows import Publishable as Publishable
from outbox_relay.rows import Row as Row

if TYPE_CHECKING:
    from outbox_relay.relay import Health as Health
    from outbox_relay.relay import Relay as Relay
    from outbox_relay.relay import Relays as Relays

__all__ = ["Health", "Publishable", "Relay", "Relays", "Row", "outbox"]


def __getattr__(name: str) -> Any:
    if name in ("Health", "Relay", "Relays"):
        from outbox_relay import relay

        return getattr(relay, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
