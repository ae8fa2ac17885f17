"""What log lines carry beside their words; of a handler: whose command it handles.

One context variable is set around each handling, and read when a line is written. So it costs next to nothing, and it
holds for every logger: the kit's own, the service's, and structlog's.
"""

import logging
from collections.abc import MutableMapping
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any


class FieldsAdapter(logging.LoggerAdapter[logging.Logger]):
    """Adds fields to each line. The author's own `extra` stays; the standard adapter throws it away before 3.13."""

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[object, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


@dataclass(frozen=True, slots=True)
class Handled:
    """A command (of a saga) or an event (of nobody's) that is being handled."""

    key: str
    attempt: int
    traceparent: str | None
    saga_id: str = ""
    command_type: str = ""
    event_type: str = ""

    def fields(self) -> dict[str, str | int]:
        """By name; what is not known is left out."""
        found: dict[str, str | int] = {"attempt": self.attempt}
        if self.saga_id:
            found["saga_id"] = self.saga_id
        if self.command_type:
            found |= {"command_type": self.command_type, "operation_key": self.key}
        if self.event_type:
            found |= {"event_type": self.event_type, "event_id": self.key}
        # W3C Trace Context: version, trace id, span id, flags.
        if len(parts := (self.traceparent or "").split("-")) >= 4:
            found["trace_id"] = parts[1]
        return found


_HANDLED: ContextVar[Handled | None] = ContextVar("amends_handled", default=None)


class handling:  # noqa: N801  # a context manager without a generator: it stands around every handling
    """Around one handling: what is logged inside carries its fields."""

    __slots__ = ("_handled", "_token")

    def __init__(self, handled: Handled) -> None:
        self._handled = handled

    def __enter__(self) -> None:
        self._token: Token[Handled | None] = _HANDLED.set(self._handled)

    def __exit__(self, *_: object) -> None:
        _HANDLED.reset(self._token)


def current() -> dict[str, str | int]:
    """The fields of the handling that goes on here; none outside of one."""
    handled = _HANDLED.get()
    return {} if handled is None else handled.fields()
