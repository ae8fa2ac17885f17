"""Exceptions as values: what is journaled and sent when something was raised, and how it is raised again.

Saga code meets an exception only after it went through here, live as on replay: a `Failure` by its wire name and
fields, everything else as its type and text. So no `except` branch can differ between a run and its replay.
"""

import traceback
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import ValidationError

from orchestrator import limits
from orchestrator.errors import (
    Effect,
    Failure,
    OperationError,
    OperationFailed,
    SagaFailed,
    TimedOut,
    Transient,
    UnknownFailure,
    failure_named,
)

_EVERYBODYS_BASES = (Exception, BaseException, object)  # every error has these: they would only fill the journal

Kind = Literal["failure", "error", "timeout", "transient", "saga"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One exception. `fields` are a Failure's; `effect` says whether something may have happened."""

    kind: Kind
    type: str
    text: str = ""
    traceback: str = ""
    fields: dict[str, Any] | None = None
    effect: Effect = "unknown"
    retry_after_s: float | None = None
    left_undone: tuple[str, ...] = ()
    saga_id: str = ""
    status: str = ""
    bases: tuple[str, ...] = ()  # "module.Class" of an error and its bases: what `Retry.on` of a step is matched with

    def to_json(self) -> dict[str, Any]:
        """Only what is not a default: a journal holds many of these."""
        out: dict[str, Any] = {"kind": self.kind, "type": self.type, "effect": self.effect}
        for name in ("text", "traceback", "fields", "retry_after_s", "saga_id", "status"):
            if value := getattr(self, name):
                out[name] = value
        if self.left_undone:
            out["left_undone"] = list(self.left_undone)
        if self.bases:
            out["bases"] = list(self.bases)
        return out

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Problem":
        """The inverse of `to_json`."""
        lists = {name: tuple(data.get(name, ())) for name in ("left_undone", "bases")}
        return Problem(**{**data, **lists})


def problem_of(error: BaseException) -> Problem:
    """The value of an exception that a step, a handler or a saga function raised."""
    match error:
        case UnknownFailure():
            return Problem(
                kind="failure", type=error.failure_type, text=_text(error), fields=error.failure_fields, effect="none"
            )
        case Failure():
            return Problem(
                kind="failure", type=error.wire_name, text=_text(error), fields=error.to_json(), effect="none"
            )
        case Transient():
            return Problem(
                kind="transient",
                type="Transient",
                text=_text(error),
                effect="none",
                retry_after_s=error.retry_after_s,
            )
        case SagaFailed():
            return Problem(
                kind="saga",
                type=error.error_type,
                text=_cut(error.error_text),
                traceback=error.remote_traceback,
                saga_id=error.saga_id,
                status=error.status,
                left_undone=error.left_undone,
            )
        case OperationFailed():
            return Problem(
                kind="error",
                type=error.error_type,
                text=_cut(error.error_text),
                traceback=error.remote_traceback,
                effect=error.effect,
            )
        case TimedOut():
            return Problem(kind="timeout", type="TimedOut", text=_text(error), effect=error.effect)
    return Problem(
        kind="error",
        type=type(error).__qualname__,
        text=_text(error),
        traceback=_traceback(error),
        bases=tuple(class_path(cls) for cls in type(error).__mro__ if cls not in _EVERYBODYS_BASES),
    )


def class_path(cls: type) -> str:
    """How `bases` names a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def exception_of(problem: Problem, *, operation_key: str = "", attempts: int = 0) -> OperationError:
    """The exception that saga code and clients meet."""
    error = _bare_exception(problem)
    error.operation_key, error.attempts, error.effect = operation_key, attempts, problem.effect
    return error


def _bare_exception(problem: Problem) -> OperationError:
    match problem.kind:
        case "failure":
            return _failure(problem)
        case "timeout":
            return TimedOut(problem.text)
        case "saga":
            return SagaFailed(
                problem.saga_id,
                cast("Any", problem.status or "failed"),
                problem.type,
                problem.text,
                left_undone=problem.left_undone,
                remote_traceback=problem.traceback,
            )
    return OperationFailed(problem.type, problem.text, problem.traceback)


def _failure(problem: Problem) -> Failure:
    fields = problem.fields or {}
    cls = failure_named(problem.type)
    try:
        if cls is not None:
            return cls(**fields)
    except (TypeError, ValidationError):
        # The class was changed in a way that refuses the stored fields: a definite no stays a definite no.
        pass
    return UnknownFailure(failure_type=problem.type, failure_fields=fields)


def _text(error: BaseException) -> str:
    return _cut(str(error))


def _traceback(error: BaseException) -> str:
    return _cut("".join(traceback.format_exception(error)), limits.TRACEBACK_CHARS_MAX)


def _cut(text: str, chars_max: int = limits.ERROR_TEXT_CHARS_MAX) -> str:
    # NUL and lone surrogates can't be stored as text in Postgres.
    clean = text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
    return clean if len(clean) <= chars_max else clean[: chars_max - 1] + "…"
