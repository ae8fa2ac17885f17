"""Amends: durable sagas for Python. Everything an author imports comes from here, from `orchestrator.testing` or from
`outbox_relay`.

Two rules to read any saga by:
  await       the saga may sleep here: seconds or weeks, over crashes and deploys
  no await    it is written together with this turn, in the same transaction

Names are loaded when they are first used, so that a process loads only what it needs: a participant no core, a relay
neither. Type checkers see the imports below.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.app import App
    from orchestrator.client import Client, Description, Missed, Moved, Opened, Page, Started, SyncClient, TookOver
    from orchestrator.contracts import Command, Event, Message
    from orchestrator.core.saga import Saga, Scope
    from orchestrator.core.saga_type import SagaType, saga
    from orchestrator.core.step_context import StepContext, current_step
    from orchestrator.errors import (
        AmendsError,
        DefinitionError,
        DependencyError,
        Failure,
        Misuse,
        OperationError,
        OperationFailed,
        PayloadError,
        RequestError,
        SagaEnded,
        SagaFailed,
        SagaIdTaken,
        SagaNotFound,
        TimedOut,
        Transient,
        UnknownFailure,
    )
    from orchestrator.participant import Breaker, Handling, Participant, Transaction
    from orchestrator.retry import Retry

_ERRORS = (
    "AmendsError DefinitionError DependencyError Failure Misuse OperationError OperationFailed PayloadError "
    "RequestError SagaEnded SagaFailed SagaIdTaken SagaNotFound TimedOut Transient UnknownFailure"
)
_CLIENT = "Client Description Missed Moved Opened Page Started SyncClient TookOver"
_HOMES: dict[str, str] = {
    "App": "orchestrator.app",
    **dict.fromkeys(_CLIENT.split(), "orchestrator.client"),
    **dict.fromkeys(("Command", "Event", "Message"), "orchestrator.contracts"),
    **dict.fromkeys(("Saga", "Scope"), "orchestrator.core.saga"),
    **dict.fromkeys(("SagaType", "saga"), "orchestrator.core.saga_type"),
    **dict.fromkeys(("StepContext", "current_step"), "orchestrator.core.step_context"),
    **dict.fromkeys(_ERRORS.split(), "orchestrator.errors"),
    **dict.fromkeys(("Breaker", "Handling", "Participant", "Transaction"), "orchestrator.participant"),
    "Retry": "orchestrator.retry",
}

__all__ = [
    "AmendsError",
    "App",
    "Breaker",
    "Client",
    "Command",
    "DefinitionError",
    "DependencyError",
    "Description",
    "Event",
    "Failure",
    "Handling",
    "Message",
    "Missed",
    "Misuse",
    "Moved",
    "Opened",
    "OperationError",
    "OperationFailed",
    "Page",
    "Participant",
    "PayloadError",
    "RequestError",
    "Retry",
    "Saga",
    "SagaEnded",
    "SagaFailed",
    "SagaIdTaken",
    "SagaNotFound",
    "SagaType",
    "Scope",
    "Started",
    "StepContext",
    "SyncClient",
    "TimedOut",
    "TookOver",
    "Transaction",
    "Transient",
    "UnknownFailure",
    "current_step",
    "saga",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
