"""Every setting, read once at the edge: from the environment, or given to `Settings(...)` in a test or a script.

Nothing below the edge (client, app, run, cli) reads the environment. What is no matter of the installation is not
here but in `limits.py`, with its reason. docs/reference/settings.md is held against this class by a test.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from orchestrator import limits
from orchestrator.errors import DependencyError
from orchestrator.kafka_config import read_kafka_config

LOCAL_DATABASE = "amends"
"""The database of `amends dev` and the CLI on the local stack, whose URL in var/stack.json is the administrator's."""


class Settings(BaseSettings):
    """Read once, at the edge, from the environment."""

    model_config = SettingsConfigDict(
        env_prefix="AMENDS_", frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True
    )

    database_url: SecretStr = Field(
        validation_alias="DATABASE_URL",
        description="The Postgres database of this process, as postgresql://user@host:port/name. Of the orchestrator, "
        "the client, the console: the orchestrator's. Of a participant: the service's own.",
    )
    kafka_bootstrap_servers: str = Field(
        default="",
        validation_alias="KAFKA_BOOTSTRAP_SERVERS",
        description="host:port, several separated by commas. Needed by every process but a client, which never talks "
        "to Kafka.",
    )
    kafka_config: Path | None = Field(
        default=None,
        description="A file of NAME=VALUE lines by which every process logs in to Kafka: librdkafka's "
        "`security.protocol`, `sasl.*`, `ssl.*`. Read when the process starts, and never printed. Unset: plaintext.",
    )
    schema_registry_url: SecretStr | None = Field(
        default=None,
        validation_alias="SCHEMA_REGISTRY_URL",
        description="A Confluent-compatible schema registry, as https://user:password@host. Payloads are then written "
        "in Confluent's wire format, by the registry's ids; it needs the extra amends[registry]. Unset: Avro "
        "single-object encoding over the .avsc files.",
    )
    payload_framing: Literal["registry", "fingerprint"] = Field(
        default="registry",
        description="What is written where a registry is set: its ids, or still fingerprints, while processes are "
        "about that do not have SCHEMA_REGISTRY_URL yet. Both are read.",
    )
    schema_cache_dir: Path | None = Field(
        default=None,
        description="Where schemas of the registry are kept, to begin with while it is away. Unset: amends/schemas "
        "in the user's cache ($XDG_CACHE_HOME, else ~/.cache).",
    )
    topic_prefix: str = Field(
        default="",
        pattern=r"^[a-zA-Z0-9._-]{0,100}$",
        description="Begins the name of every topic and consumer group, so that installations can share one Kafka.",
    )
    schemas_dir: Path = Field(
        default=Path("schemas"),
        description="The folder of the .avsc contracts: written by `amends schemas write`, read for messages whose "
        "class is not imported. It may be missing.",
    )
    worker_name: str = Field(
        default="",
        description="How this process is called in `amends doctor`, in logs and traces. Empty: host name and pid.",
    )
    client_connections_max: int = Field(
        default=10,
        ge=1,
        le=1_000,
        description="How many connections of its own one client opens at most (it opens none before it needs one), "
        "besides the one on which it hears that sagas have ended.",
    )
    client_connect_timeout_s: float = Field(
        default=10.0,
        gt=0,
        description="Seconds that a client waits for one of its connections before it raises DependencyError.",
    )
    sagas_at_work_max: int = Field(
        default=limits.SAGAS_AT_WORK_MAX,
        ge=1,
        description="How many sagas of one shard may be running or compensating at once. Starts beyond that stay "
        "`queued` and begin, the oldest first, as others end. The same for every orchestrator. Children always begin: "
        "their parents wait for them.",
    )
    outbox_sent_kept_s: float = Field(
        default=limits.OUTBOX_SENT_KEPT_S,
        ge=0,
        description="Seconds that a relay keeps acknowledged starts, messages and events in amends.outbox_sent, to "
        "send them again when Kafka has lost them. Daily partitions are dropped whole, so up to a day more is kept.",
    )
    replay_every_turns: int = Field(
        default=limits.REPLAY_EVERY_TURNS,
        ge=0,
        description="One turn in so many is followed by a replay of its saga, beside the work and with little CPU; a "
        "saga that decides otherwise than its journal says is blocked. 0: never.",
    )
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65_535,
        description="Where this process serves /metrics, /health and /ready over HTTP. 0: nowhere.",
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        description="The address it listens on for that. There is no password: 0.0.0.0 shows the figures to everybody "
        "who can reach the port.",
    )
    api_tokens: str = Field(
        default="",
        description="Who may use the HTTP API: NAME:ROLE:SHA256 of each token, separated by blanks or commas, as "
        "`amends api token` prints them. ROLE is read or operate. Empty: only requests from this machine are answered.",
    )
    api_origins: str = Field(
        default="",
        description="Origins whose pages may change something through the HTTP API, besides its own: "
        "https://ops.example, several separated by blanks or commas.",
    )
    api_service_databases: SecretStr | None = Field(
        default=None,
        description="Databases of services whose breakers the HTTP API shows: NAME=URL, separated by blanks. The login "
        "needs the role console there.",
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        default=None,
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Where spans go by OTLP over HTTP. Unset: none are exported; `amends trace` needs none.",
    )

    @field_validator("database_url", mode="before")
    @classmethod
    def _without_driver(cls, value: object) -> object:
        """SQLAlchemy's `postgresql+psycopg://` names a driver; libpq, which reads it here, knows none."""
        return re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", value) if isinstance(value, str) else value

    @field_validator("kafka_config", "schema_registry_url", "schema_cache_dir", "api_service_databases", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    def kafka_login(self) -> Mapping[str, str]:
        """The properties for librdkafka out of the file `kafka_config`. They hold passwords: print none."""
        return read_kafka_config(self.kafka_config)

    def for_kafka(self) -> "Settings":
        """These settings, for a process that needs Kafka. Raises DependencyError when nobody says where it is."""
        if not self.kafka_bootstrap_servers:
            raise DependencyError(_MISSING.format(names="KAFKA_BOOTSTRAP_SERVERS is", example=_EXAMPLE))
        return self


_EXAMPLE = "export DATABASE_URL=postgresql://user@host/name KAFKA_BOOTSTRAP_SERVERS=host:9092"
_MISSING = "{names} not set. {example}, or start both here with `amends up`"


@dataclass(frozen=True, slots=True)
class Origin:
    """One setting as `amends config` prints it."""

    name: str
    variable: str
    value: str
    origin: str  # environment, local stack, default


def read_settings(var: Path | None = None) -> Settings:
    """The settings of this process, from its environment, else, if `var` is given, of the local stack that runs there.

    Raises DependencyError, naming every variable that is missing or wrong.
    """
    local = local_environment(var) if var is not None else {}
    given = {name: value for name, value in local.items() if not os.environ.get(name)}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # by environment name; pydantic validates the values
    except ValidationError as error:
        raise DependencyError(_explained(error)) from None


def local_environment(var: Path) -> dict[str, str]:
    """DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS of the stack that runs in `var`; empty if none does.

    The stack's URL is the administrator's, of the database `postgres`; sagas live in the database LOCAL_DATABASE.
    """
    try:
        row = json.loads((var / "stack.json").read_text())
        url = str(row["DATABASE_URL"])
        kafka = str(row["KAFKA_BOOTSTRAP_SERVERS"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {"DATABASE_URL": with_local_database(url), "KAFKA_BOOTSTRAP_SERVERS": kafka}


def with_local_database(url: str) -> str:
    """The same server's URL with LOCAL_DATABASE, if it names the administrator's database; else as it is."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{LOCAL_DATABASE}")) if parts.path in ("/postgres", "/", "") else url


def origins(settings: Settings, environ: Mapping[str, str]) -> Iterator[Origin]:
    """Each setting with its value (passwords hidden) and where it came from."""
    for name in Settings.model_fields:
        variable = variable_of(name)
        value = getattr(settings, name)
        if environ.get(variable):
            origin = "environment"
        else:
            origin = "local stack" if name in settings.model_fields_set else "default"
        shown = without_password(value.get_secret_value()) if isinstance(value, SecretStr) else str(value or "")
        yield Origin(name, variable, shown, origin)


def without_password(url: str) -> str:
    """A database URL, libpq's `name=value` form, or the URLs of a registry, as they may be shown."""
    return ",".join(_one_without_password(one) for one in re.split(r",\s*(?=https?://)", url))


def _one_without_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.password is None:
        return re.sub(r"(password\s*=\s*)('[^']*'|\S+)", r"\1***", url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias
    return str(alias) if alias else f"AMENDS_{name.upper()}"


def _explained(error: ValidationError) -> str:
    missing = [str(e["loc"][0]) for e in error.errors() if e["type"] == "missing"]
    wrong = [f"{e['loc'][0]}: {e['msg']}" for e in error.errors() if e["type"] != "missing"]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        wrong.insert(0, _MISSING.format(names=f"{', '.join(missing)} {verb}", example=_EXAMPLE))
    return "; ".join(wrong)
