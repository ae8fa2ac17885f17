"""Every error, drawn. Only control flow that no author sees derives from BaseException directly.

AmendsError
├── OperationError            an `await s.…` did not give its result
│   ├── Failure               a definite no: it had NO effect, and is not undone. Subclass it for your own
│   │   └── UnknownFailure    a Failure whose class is not imported in this process
│   ├── OperationFailed       it raised something else, and the retries are used up: it MAY have had an effect
│   │   └── SagaFailed        a saga ended by something that is not a Failure: an error, cancel, terminate
│   └── TimedOut              also a TimeoutError: no answer in time. A call MAY have had an effect
├── Transient                 raise it in a step or a handler: no effect, try again (later)
├── RequestError              the client asked for something that can't be
│   ├── SagaNotFound
│   └── SagaIdTaken           this id belongs to a saga with another type or input
├── Misuse                    saga code broke a rule (I/O, a forgotten await, a pivot too early): names file and line;
│                             the saga is quarantined, nothing was emitted: deploy the fix, unblock
├── DefinitionError           a class, function or app is declared wrongly: raised at import or start, never later
├── PayloadError              a value can't travel: not encodable, too large, NaN, NUL, of an unknown schema
├── DependencyError           Postgres or Kafka is not as we need it: says which setting, and what to do
└── LocalStackError           the local stack (orchestrator/local) could not be started or stopped

The one rule: **raise a Failure to say "it did not happen". Whatever else comes out of a step or a handler that calls
out may have happened, and will be undone.** (A local handler and a transactional step roll back: always definite.)
"""

import typing
from typing import Any, ClassVar, Literal, dataclass_transform

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

Effect = Literal["none", "unknown"]


class AmendsError(Exception):
    """The base of all that Amends raises on purpose."""


class OperationError(AmendsError):
    """An operation did not give its result. The runtime fills in the three facts when it raises one in a saga."""

    operation_key: str = ""
    attempts: int = 0
    effect: Effect = "none"


_FAILURES: dict[str, type["Failure"]] = {}
_FIELDS = ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=False)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class _FailureType(type):
    """Makes the annotations of a Failure its keyword-only, validated fields."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, wire_name: str | None = None
    ) -> "_FailureType":
        cls = super().__new__(mcs, name, bases, namespace)
        cls.wire_name = wire_name or name  # type: ignore[attr-defined]  # a ClassVar of every Failure
        cls._model = None  # type: ignore[attr-defined]  # built at first use: annotations may be forward references
        if bases and name != "UnknownFailure":
            # The newest definition wins: a module that is imported again (a reload, a test) must not be refused.
            _FAILURES[cls.wire_name] = cls  # type: ignore[attr-defined, assignment]
        return cls


class Failure(OperationError, metaclass=_FailureType):
    """A business no, typed, with fields; it crosses services and comes out of the await as the same class.

    class CardDeclined(Failure):
        reason: str
    """

    wire_name: ClassVar[str]
    _model: ClassVar[type[BaseModel] | None]

    def __init__(self, **fields: Any) -> None:
        try:
            model = type(self).fields_model()(**fields)
        except ValidationError as error:
            raise TypeError(f"{type(self).__name__}: {_short(error)}") from None
        self._values = model
        for field in type(model).model_fields:
            setattr(self, field, getattr(model, field))
        super().__init__(_described(type(self).__name__, model))

    @classmethod
    def fields_model(cls) -> type[BaseModel]:
        """The pydantic model of this Failure's own and inherited fields."""
        if cls.__dict__.get("_model") is None:
            cls._model = create_model(cls.__name__, __config__=_FIELDS, **_annotated_fields(cls))
        assert cls._model is not None
        return cls._model

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return self._values.model_dump(mode="json")


class UnknownFailure(Failure):
    """A definite no whose class this process has not imported: its wire name and its fields."""

    failure_type: str
    failure_fields: dict[str, Any]


class OperationFailed(OperationError):
    """What was raised over there (or in the step), as text: its class need not exist here."""

    effect: Effect = "unknown"

    def __init__(self, error_type: str, error_text: str, remote_traceback: str = "") -> None:
        super().__init__(f"{error_type}: {error_text}" if error_text else error_type)
        self.error_type = error_type
        self.error_text = error_text
        self.remote_traceback = remote_traceback


class TimedOut(OperationError, TimeoutError):
    """No answer in time. A call may have had an effect; it is undone unless its scope keeps it."""

    effect: Effect = "unknown"


class Transient(AmendsError):
    """No effect, try again. `retry_after_s` replaces the backoff once, and then no attempt is counted."""

    def __init__(self, text: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class SagaFailed(OperationFailed):
    """A saga ended by an error, a cancel or a terminate. `left_undone` names what was not taken back."""

    def __init__(
        self,
        saga_id: str,
        status: Literal["failed", "cancelled", "terminated"],
        error_type: str,
        error_text: str,
        *,
        left_undone: tuple[str, ...] = (),
        remote_traceback: str = "",
    ) -> None:
        super().__init__(error_type, error_text, remote_traceback)
        self.saga_id = saga_id
        self.status = status
        self.left_undone = left_undone

    def __str__(self) -> str:
        return f"saga {self.saga_id} {self.status}: {super().__str__()}"


class RequestError(AmendsError):
    """The client asked for something that can't be."""


class SagaNotFound(RequestError):
    """No saga has this id (yet)."""


class SagaIdTaken(RequestError):
    """The id belongs to a saga with another type or another input."""


class Misuse(AmendsError):
    """Saga code broke a rule. The saga is quarantined even if saga code catches this."""


class DefinitionError(AmendsError):
    """A class, function or app is declared wrongly."""


class PayloadError(AmendsError):
    """A value can't travel. Nothing was sent."""


class DependencyError(AmendsError):
    """Postgres or Kafka is missing, too old or set up in a way that would hurt."""


class LocalStackError(AmendsError):
    """The local stack could not be started or stopped: says what was left as it was, and what to type."""


def failure_named(wire_name: str) -> type[Failure] | None:
    """The imported Failure class of this wire name."""
    return _FAILURES.get(wire_name)


def _annotated_fields(cls: type[Failure]) -> dict[str, Any]:
    reserved = {"wire_name", "_model", "operation_key", "attempts", "effect"}
    hints = typing.get_type_hints(cls)
    return {
        name: (hint, getattr(cls, name, ...))
        for name, hint in hints.items()
        if name not in reserved and typing.get_origin(hint) is not ClassVar
    }


def _described(name: str, model: BaseModel) -> str:
    values = ", ".join(f"{field}={getattr(model, field)!r}" for field in type(model).model_fields)
    return f"{name}({values})" if values else name


def _short(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors())
