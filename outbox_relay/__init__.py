"""The outbox by itself: no saga needed, no import of `orchestrator`."""

from outbox_relay import outbox as outbox
from outbox_relay.rows import Publishable as Publishable
from outbox_relay.rows import Row as Row

__all__ = ["Publishable", "Row", "outbox"]
