"""Amends: the public surface. Everything an author imports comes from here, from `orchestrator.testing` or from `outbox_relay`.

Two rules to read any saga by:
  await       the saga may sleep here: seconds or weeks, over crashes and deploys
  no await    it is written together with this turn, in the same transaction

Each name is imported at its first use: so a process of sagas does not import the participants' kit, nor a web app the
saga loop, and `outbox_relay` may stand by itself.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.app import App as App
    from orchestrator.client import Client as Client
    from orchestrator.client import Description as Description
    from orchestrator.client import Started as Started
    from orchestrator.client import SyncClient as SyncClient
    from orchestrator.contracts import Command as Command
    from orchestrator.contracts import Event as Event
    from orchestrator.contracts import Message as Message
    from orchestrator.core.saga import Saga as Saga
    from orchestrator.core.saga_type import SagaType as SagaType
    from orchestrator.core.saga_type import saga as saga
    from orchestrator.core.step_context import StepContext as StepContext
    from orchestrator.core.step_context import current_step as current_step
    from orchestrator.core.undo import Scope as Scope
    from orchestrator.errors import AmendsError as AmendsError
    from orchestrator.errors import DefinitionError as DefinitionError
    from orchestrator.errors import Failure as Failure
    from orchestrator.errors import Misuse as Misuse
    from orchestrator.errors import OperationError as OperationError
    from orchestrator.errors import OperationFailed as OperationFailed
    from orchestrator.errors import RequestError as RequestError
    from orchestrator.errors import SagaFailed as SagaFailed
    from orchestrator.errors import SagaIdTaken as SagaIdTaken
    from orchestrator.errors import SagaNotFound as SagaNotFound
    from orchestrator.errors import TimedOut as TimedOut
    from orchestrator.errors import Transient as Transient
    from orchestrator.participant import Breaker as Breaker
    from orchestrator.participant import Handling as Handling
    from orchestrator.participant import Participant as Participant
    from orchestrator.participant import Transaction as Transaction
    from orchestrator.retry import Retry as Retry

_HOMES: dict[str, tuple[str, ...]] = {
    "orchestrator.app": ("App",),
    "orchestrator.client": ("Client", "Description", "Started", "SyncClient"),
    "orchestrator.contracts": ("Command", "Event", "Message"),
    "orchestrator.core.saga": ("Saga",),
    "orchestrator.core.saga_type": ("SagaType", "saga"),
    "orchestrator.core.step_context": ("StepContext", "current_step"),
    "orchestrator.core.undo": ("Scope",),
    "orchestrator.errors": (
        "AmendsError",
        "DefinitionError",
        "Failure",
        "Misuse",
        "OperationError",
        "OperationFailed",
        "RequestError",
        "SagaFailed",
        "SagaIdTaken",
        "SagaNotFound",
        "TimedOut",
        "Transient",
    ),
    "orchestrator.participant": ("Breaker", "Handling", "Participant", "Transaction"),
    "orchestrator.retry": ("Retry",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = list(_HOME_OF)  # noqa: PLE0605  # one list; a test holds it against the imports above


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
