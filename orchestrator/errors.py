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
│   ├── SagaEnded             a verb for a saga that is over
│   ├── VerbNotFound
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

import contextlib
import inspect
import sys
import typing
from types import FrameType
from typing import Any, ClassVar, Literal, cast, dataclass_transform

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticUserError

from orchestrator import limits

Effect = Literal["none", "unknown"]


class AmendsError(Exception):
    """The base of all that Amends raises on purpose. Each can be copied and pickled, whatever its `__init__` asks."""

    def __reduce__(self) -> Any:
        return _made_again, (type(self), self.args), self.__dict__.copy()

    def __setstate__(self, state: dict[str, Any] | None) -> None:
        self.__dict__.update(state or {})


def _made_again(cls: type[AmendsError], args: tuple[Any, ...]) -> AmendsError:
    return cls.__new__(cls, *args)


class OperationError(AmendsError):
    """An operation did not give its result. The runtime fills in the three facts when it raises one in a saga."""

    operation_key: str = ""
    attempts: int = 0
    effect: Effect = "none"


class DefinitionError(AmendsError):
    """A class, function or app is declared wrongly."""


def where_declared(cls: type) -> str:
    """`shop/contracts.py:31` of the class statement that is being run; else the class's full name."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if module == cls.__module__ and module not in _NEVER_THE_PLACE:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return f"{cls.__module__}.{cls.__qualname__}"


_NEVER_THE_PLACE = (__name__, "orchestrator.contracts")
_FAILURES: dict[str, type["Failure"]] = {}
_DECLARED: dict[str, set[str]] = {}  # wire name -> the places that declared it
_FIELDS = ConfigDict(
    extra="forbid",
    allow_inf_nan=False,
    ser_json_bytes="base64",
    val_json_bytes="base64",
    protected_namespaces=(),
)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class _FailureType(type):
    """Makes the annotations of a Failure its keyword-only, validated fields."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, wire_name: str | None = None
    ) -> "_FailureType":
        cls = super().__new__(mcs, name, bases, namespace)
        failure = cast("type[Failure]", cls)
        failure.wire_name = wire_name or name
        failure._model = None
        if any(isinstance(base, _FailureType) for base in bases):
            _declare(failure)
        return cls


class Failure(OperationError, metaclass=_FailureType):
    """A business no, typed, with fields; it crosses services and comes out of the await as the same class.

    class CardDeclined(Failure):
        reason: str

    `class CardDeclined(Failure, wire_name="card_declined")` pins its name on the wire (default: the class's).
    """

    wire_name: ClassVar[str]
    _model: ClassVar[type[BaseModel] | None]

    def __init__(self, **fields: Any) -> None:
        try:
            model = type(self).fields_model()(**fields)
        except ValidationError as error:
            raise TypeError(f"{type(self).__name__}: {_short(error)}") from None
        # Not by setattr, which refuses them: what was raised does not change any more.
        self.__dict__.update({field: getattr(model, field) for field in type(model).model_fields})
        super().__init__(str(self))

    @classmethod
    def fields_model(cls) -> type[BaseModel]:
        """The pydantic model of this Failure's own and inherited fields. Raises DefinitionError."""
        if cls._model is None:
            try:
                cls._model = create_model(cls.__name__, __config__=_FIELDS, **_annotated_fields(cls))
            except PydanticUserError as error:
                raise DefinitionError(f"{where_declared(cls)}: {cls.__name__}: {error.message}") from error
        return cls._model

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, of text that Postgres and Kafka take: a no must arrive, whatever it quotes."""
        model = self.fields_model()
        values = {field: self.__dict__[field] for field in model.model_fields}
        return cast("dict[str, Any]", _storable(model.model_construct(**values).model_dump(mode="json")))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.fields_model().model_fields:
            raise AttributeError(f"{type(self).__name__}.{name}: the fields of a Failure do not change")
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Failure) and type(self) is type(other) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(type(self))  # fields may be lists

    def __str__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self._fields().items())
        return f"{type(self).__name__}({values})" if values else type(self).__name__

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self._fields().items())
        return f"{type(self).__name__}({values})"

    def _fields(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self.fields_model().model_fields if name in self.__dict__}


def _declare(cls: type[Failure]) -> None:
    """Register it, and find what is wrong with it where it is written. What is declared further down waits."""
    if not (0 < len(cls.wire_name) <= limits.NAME_CHARS_MAX and cls.wire_name.isprintable()):
        raise DefinitionError(
            f"{where_declared(cls)}: {cls.wire_name!r} can't be a name on the wire: "
            f"1-{limits.NAME_CHARS_MAX} printable characters"
        )
    with contextlib.suppress(NameError):
        cls.fields_model()
    # The newest definition wins: a module that is imported again (a reload, a test) must not be refused.
    if cls.__name__ != "UnknownFailure":
        _FAILURES[cls.wire_name] = cls
        _DECLARED.setdefault(cls.wire_name, set()).add(f"{cls.__module__}.{cls.__qualname__}")


def _annotated_fields(cls: type[Failure]) -> dict[str, Any]:
    found = {
        name: (hint, getattr(cls, name, ...))
        for name, hint in typing.get_type_hints(cls, include_extras=True).items()
        if name not in _RUNTIMES_OWN and typing.get_origin(hint) is not ClassVar
    }
    for taken in found.keys() & _TAKEN:
        raise DefinitionError(f"{where_declared(cls)}: {cls.__name__}.{taken}: an exception has something of that name")
    declared = {name for base in cls.__mro__ if issubclass(base, Failure) for name in inspect.get_annotations(base)}
    for fact in declared & inspect.get_annotations(OperationError).keys():
        raise DefinitionError(f"{where_declared(cls)}: {cls.__name__}.{fact}: the runtime fills this in itself")
    return found


_RUNTIMES_OWN = {"wire_name", "_model", "operation_key", "attempts", "effect"}
_TAKEN = {*dir(BaseException), "to_json", "fields_model"}


def _storable(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
        case list():
            return [_storable(item) for item in value]
        case dict():
            return {_storable(key): _storable(item) for key, item in value.items()}
    return value


def _short(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors())


class UnknownFailure(Failure):
    """A definite no whose class this process has not imported: its wire name and its fields."""

    failure_type: str
    failure_fields: dict[str, Any]

    def __str__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.failure_fields.items())
        return f"{self.failure_type}({values})" if values else self.failure_type


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


class SagaEnded(RequestError):
    """The saga is over: there is nothing to cancel, to retry, to skip."""


class VerbNotFound(RequestError):
    """No verb was given that has this number."""


class SagaIdTaken(RequestError):
    """The id belongs to a saga with another type or another input."""


class Misuse(AmendsError):
    """Saga code broke a rule. The saga is quarantined even if saga code catches this."""


class PayloadError(AmendsError):
    """A value can't travel. Nothing was sent."""


class DependencyError(AmendsError):
    """Postgres or Kafka is missing, too old or set up in a way that would hurt."""


class LocalStackError(AmendsError):
    """The local stack could not be started or stopped: says what was left as it was, and what to type."""


def failure_named(wire_name: str) -> type[Failure] | None:
    """The imported Failure class of this wire name."""
    return _FAILURES.get(wire_name)


def clashing_failures() -> dict[str, tuple[str, ...]]:
    """Wire names that Failures of several places claim: whoever meets one may get the wrong class."""
    return {name: tuple(sorted(places)) for name, places in _DECLARED.items() if len(places) > 1}
