"""Read compose.yaml: what the keeper needs of each service, checked, with its variables filled in."""

import re
import signal
import sys
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import yaml

from orchestrator.errors import LocalStackError

Condition = Literal["service_started", "service_healthy", "service_completed_successfully"]
Restart = Literal["no", "always", "on-failure", "unless-stopped"]
ReadyKind = Literal["postgres", "kafka", "tcp", "http"]

VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_][A-Z0-9_]*)(?::-(?P<default>[^}]*))?\}")
DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
UNIT_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Ready:
    """How to see that a service serves: what to ask, and the port or URL."""

    kind: ReadyKind
    target: str


@dataclass(frozen=True, slots=True)
class Service:
    """One program of the stack. Without `ready` it counts as healthy once it was started."""

    name: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    ready: Ready | None = None
    depends_on: tuple[tuple[str, Condition], ...] = ()
    restart: Restart = "no"
    stop_signal: int = signal.SIGTERM
    stop_grace_s: float = 10.0
    interval_s: float = 0.1
    start_period_s: float = 60.0
    retries: int = 3
    profiles: tuple[str, ...] = ()


class ComposeFileWrong(LocalStackError):
    """compose.yaml says something that the keeper does not understand."""

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(f"compose.yaml, service {service}: {reason}. Nothing was started.")


def read_services(text: str, variables: Mapping[str, str]) -> dict[str, Service]:
    """Return the services that have an x-native key, by name; the others are for Docker only."""
    services = yaml.safe_load(text)["services"]
    native = {name: row for name, row in services.items() if "x-native" in row}
    return {name: _service(name, _fill(row, variables)) for name, row in native.items()}


def port_names(text: str) -> list[str]:
    """Return the names of the ports that the native services need: `kafka-controller` for ${KAFKA_CONTROLLER_PORT}."""
    native = [row["x-native"] for row in yaml.safe_load(text)["services"].values() if "x-native" in row]
    names = {found["name"] for found in VARIABLE.finditer(str(native))}
    return sorted(name.removesuffix("_PORT").lower().replace("_", "-") for name in names if name.endswith("_PORT"))


def port_variables(ports: Mapping[str, int]) -> dict[str, str]:
    """Return the variables that stand for the ports; the inverse of `port_names`."""
    return {f"{name.upper().replace('-', '_')}_PORT": str(port) for name, port in ports.items()}


def with_dependencies(
    names: Iterable[str], services: Mapping[str, Service], given: Container[str] = ()
) -> list[Service]:
    """Return the named services and all that they depend on, each after its dependencies.

    What is `given` runs elsewhere: it is left out, and nobody waits for it.
    """
    ordered: dict[str, Service] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ComposeFileWrong(name, f"depends on itself: {' -> '.join((*path, name))}")
        if name not in services:
            raise ComposeFileWrong(name, "is not there, or has no x-native key")
        waits_for = tuple(row for row in services[name].depends_on if row[0] not in given)
        for dependency, _ in waits_for:
            visit(dependency, (*path, name))
        ordered.setdefault(name, replace(services[name], depends_on=waits_for))

    for name in names:
        if name not in given:
            visit(name, ())
    return list(ordered.values())


def _fill(value: Any, variables: Mapping[str, str]) -> Any:
    """Fill in the variables everywhere in a piece of YAML."""
    match value:
        case str():
            return VARIABLE.sub(lambda found: variables.get(found["name"], found["default"] or ""), value)
        case list():
            return [_fill(item, variables) for item in value]
        case dict():
            return {key: _fill(item, variables) for key, item in value.items()}
        case _:
            return value


def _service(name: str, row: Mapping[str, Any]) -> Service:
    native = row["x-native"]
    check = row.get("healthcheck", {})
    program, *arguments = map(str, native["command"])
    return Service(
        name=name,
        command=(sys.executable if program == "python" else program, *arguments),
        environment=tuple((str(key), str(value)) for key, value in native.get("environment", {}).items()),
        ready=_ready(name, native.get("ready")),
        depends_on=_depends_on(name, row.get("depends_on", {})),
        restart=_one_of(name, get_args(Restart), str(row.get("restart", "no"))),
        stop_signal=signal.Signals[row.get("stop_signal", "SIGTERM")],
        stop_grace_s=duration_s(row.get("stop_grace_period", "10s")),
        interval_s=duration_s(check.get("interval", "100ms")),
        start_period_s=duration_s(check.get("start_period", "60s")),
        retries=int(check.get("retries", 3)),
        profiles=tuple(row.get("profiles", ())),
    )


def _ready(name: str, row: Mapping[str, Any] | None) -> Ready | None:
    if row is None:
        return None
    ((kind, target),) = row.items()
    return Ready(_one_of(name, get_args(ReadyKind), kind), str(target))


def _depends_on(name: str, rows: Any) -> tuple[tuple[str, Condition], ...]:
    if isinstance(rows, list):
        return tuple((dependency, "service_started") for dependency in rows)
    conditions = {dependency: row.get("condition", "service_started") for dependency, row in rows.items()}
    return tuple((key, _one_of(name, get_args(Condition), value)) for key, value in conditions.items())


def _one_of(name: str, words: tuple[Any, ...], word: str) -> Any:
    if word not in words:
        raise ComposeFileWrong(name, f"`{word}` is none of {', '.join(words)}")
    return word


def duration_s(text: str) -> float:
    """Return the seconds of a duration as compose writes it: `1m30s`, `500ms`."""
    parts = DURATION.findall(text)
    if "".join(amount + unit for amount, unit in parts) != text or not text:
        raise ComposeFileWrong("?", f"`{text}` is no duration like 1m30s or 500ms")
    return sum(float(amount) * UNIT_S[unit] for amount, unit in parts)
