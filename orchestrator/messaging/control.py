"""The runtime's own messages. Their schemas are as public as everybody's: `schemas/amends/*.avsc`.

What is a saga's (its input, its result) is JSON text here, because only the saga's own code knows its type.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from orchestrator import limits
from orchestrator.errors import PayloadError
from orchestrator.messaging import avro
from orchestrator.messaging.avro_walk import Json, Schema
from orchestrator.problems import Problem

SCHEMAS: dict[str, Schema] = {}  # by the record's name, as they are published


def _record(name: str, /, **fields: Schema) -> avro.Codec:
    schema = {
        "type": "record",
        "name": name,
        "namespace": "amends",
        "fields": [{"name": field, "type": type_} for field, type_ in fields.items()],
    }
    SCHEMAS[name] = schema
    return avro.register(schema)


class _Control:
    """Encoding by the class's own codec; what a message of another kind holds is refused by its name."""

    __slots__ = ()
    codec: ClassVar[avro.Codec]
    payload_bytes_max: ClassVar[int] = limits.PAYLOAD_BYTES_MAX

    def encode(self) -> bytes:
        """Raises PayloadError when it is larger than Kafka takes."""
        payload = self.codec.encode(self._fields())
        if len(payload) > self.payload_bytes_max:
            raise PayloadError(f"{self.codec.name}: {len(payload)} bytes, more than {self.payload_bytes_max}")
        return payload

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Raises PayloadError: not one of these, or damaged."""
        value = avro.decode(payload)
        if (found := avro.type_name(payload)) != cls.codec.name:
            raise avro.Undecodable(f"{found} where {cls.codec.name} is expected")
        return cls._made(value)

    def _fields(self) -> dict[str, Any]:
        raise NotImplementedError

    @classmethod
    def _made(cls, value: dict[str, Any]) -> Self:
        return cls(**value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(_Control):
    """Begin a saga. `uid` is its identity of ours; the three `parent_…` are there for a child only."""

    codec = _record(
        "Start",
        uid="string",
        type="string",
        version="long",
        input="string",
        parent_id=["null", "string"],
        parent_key=["null", "string"],
        parent_reply_to=["null", "string"],
    )

    uid: str
    type: str
    version: int
    input: str  # JSON
    parent_id: str | None = None
    parent_key: str | None = None
    parent_reply_to: str | None = None

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo(_Control):
    """Take a command back: with all that a participant needs whose inbox has forgotten it, or never saw it (rule 7).

    `command` and `reply` are single-object encoded messages; `reply` is None where it is not known, or was never given.
    """

    codec = _record("Undo", command="bytes", reply=["null", "bytes"], attempts="long", sent_at_us="long")
    payload_bytes_max = limits.MESSAGE_BYTES_MAX - limits.MESSAGE_OVERHEAD_BYTES_MAX // 2

    command: bytes
    reply: bytes | None
    attempts: int
    sent_at_us: int

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled(_Control):
    """The inbox rows of these operations may go once every expiry has passed."""

    codec = _record("Settled", keys={"type": "array", "items": "string"})

    keys: tuple[str, ...]

    def _fields(self) -> dict[str, Any]:
        return {"keys": list(self.keys)}

    @classmethod
    def _made(cls, value: dict[str, Any]) -> Self:
        return cls(keys=tuple(value["keys"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemRecord(_Control):
    """A Problem on its way. A Failure's fields are JSON text: only its own class knows their types."""

    codec = _record(
        "Problem",
        kind="string",
        type="string",
        text="string",
        traceback="string",
        fields=["null", "string"],
        effect="string",
        retry_after_s=["null", "double"],
        left_undone={"type": "array", "items": "string"},
        saga_id="string",
        status="string",
    )

    problem: Problem

    def _fields(self) -> dict[str, Any]:
        values: dict[str, Any] = {field["name"]: getattr(self.problem, field["name"]) for field in _PROBLEM_FIELDS}
        values["fields"] = None if self.problem.fields is None else json_text(self.problem.fields)
        values["left_undone"] = list(self.problem.left_undone)
        return values

    @classmethod
    def _made(cls, value: dict[str, Any]) -> Self:
        fields = None if value["fields"] is None else from_json_text(value["fields"])
        _check_problem(value, fields)
        return cls(problem=Problem(**{**value, "fields": fields, "left_undone": tuple(value["left_undone"])}))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildEnded(_Control):
    """A child's end, told to its parent. `result` is there if it succeeded, `problem` if not."""

    codec = _record("ChildEnded", outcome="string", result=["null", "string"], problem=["null", SCHEMAS["Problem"]])

    outcome: Literal["succeeded", "failed"]
    result: Json = None
    problem: Problem | None = None

    def _fields(self) -> dict[str, Any]:
        problem = None if self.problem is None else ProblemRecord(problem=self.problem)._fields()
        result = json_text(self.result) if self.outcome == "succeeded" else None
        return {"outcome": self.outcome, "result": result, "problem": problem}

    @classmethod
    def _made(cls, value: dict[str, Any]) -> Self:
        if value["outcome"] not in ("succeeded", "failed"):
            raise avro.Undecodable(f"amends.ChildEnded: outcome {value['outcome']!r}")
        problem = None if value["problem"] is None else ProblemRecord._made(value["problem"]).problem
        result = None if value["result"] is None else from_json_text(value["result"])
        return cls(outcome=value["outcome"], result=result, problem=problem)


_PROBLEM_FIELDS = SCHEMAS["Problem"]["fields"]
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_ALLOWED = {"kind": ("failure", "error", "timeout", "transient", "saga"), "effect": ("none", "unknown")}


def _check_problem(value: dict[str, Any], fields: Json) -> None:
    for name, allowed in _ALLOWED.items():
        if value[name] not in allowed:
            raise avro.Undecodable(f"amends.Problem: {name} {value[name]!r}, not one of {', '.join(allowed)}")
    if fields is not None and not isinstance(fields, dict):
        raise avro.Undecodable("amends.Problem: fields are no JSON object")


def json_text(value: Json) -> str:
    """Compact JSON. Raises PayloadError for NaN, for NUL, and for what is no JSON."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError) as error:
        raise PayloadError(f"no JSON: {error}") from error
    if "\\u0000" in text and _ESCAPED_NUL.search(text):
        raise PayloadError("holds a NUL character, which Postgres can't store")
    return text


def from_json_text(text: str) -> Json:
    """Raises Undecodable: damaged, too deep, with numbers that JSON does not have, or with text that has no UTF-8."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
        if "\\u" in text:  # of all that JSON can escape, half a surrogate pair and NUL can't be stored
            json_text(value).encode()
    except (ValueError, RecursionError, PayloadError) as error:
        raise avro.Undecodable(f"no JSON: {error}") from error
    return value


def _no_constant(name: str) -> Callable[[], None]:
    raise ValueError(f"{name} is no number in JSON")
