"""A Confluent-compatible schema registry, through confluent-kafka's own client; nobody else imports that part of it.

Every method BLOCKS, up to REGISTRY_TIMEOUT_S: call it from a plain thread. It tries once; who calls decides what to do
about RegistryAway. What the registry answers for certain (there is no such schema, this one is incompatible) is told
apart from everything else: a refused connection, a timeout, a 5xx, a 401, a page of some proxy. Those say nothing
about schemas, so nothing may be given up because of them.

A subject is the record's full name (Confluent's RecordNameStrategy), set by us and asked of nobody: see decision 0017.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from orchestrator import limits
from orchestrator.errors import DefinitionError, DependencyError
from orchestrator.messaging.avro import UnknownSchema
from orchestrator.messaging.avro_walk import Schema

# A changed schema must read whatever was sent before: messages and journals outlive several deploys.
COMPATIBILITY = "BACKWARD_TRANSITIVE"
_ERROR_CHARS_MAX = 300
_UNAUTHORIZED = (401, 403)
_NO_SUCH_ERROR = range(40400, 40500)  # of the registry's own: any server answers 404, only a registry says what for
_REFUSED = (409, 422)


class RegistryAway(DependencyError):
    """The registry has not answered, or not as a registry does: whether it knows the schema is open."""


class NotRegistered(DefinitionError):
    """The registry does not have this schema under this subject."""


class _NotThere(Exception):
    """The registry says for certain that it has no such thing."""


class Registry:
    """One registry by its URL; user and password may stand in it. A comma separates several URLs of one registry."""

    def __init__(self, url: str) -> None:
        """Raises DependencyError where the client's own packages are missing, or the URL is none."""
        self.shown = without_userinfo(url)
        try:
            from confluent_kafka.schema_registry import SchemaRegistryClient
        except ImportError as error:
            raise DependencyError(
                f"SCHEMA_REGISTRY_URL is set, and the registry's client is not installed ({error}): "
                "pip install 'amends[registry]'"
            ) from error
        # Retries are ours: they must be seen, and must end when the process does.
        config: dict[str, Any] = {"url": self.shown, "timeout": limits.REGISTRY_TIMEOUT_S, "max.retries": 0}
        # Not in the URL, which the HTTP library writes to the log.
        config |= _credentials(url)
        try:
            self._client = SchemaRegistryClient.new_client(config)
        except ValueError as error:
            raise DependencyError(f"SCHEMA_REGISTRY_URL {self.shown} is no URL of a schema registry") from error
        self._is_mock = url.startswith("mock://")

    def schema(self, schema_id: int) -> Schema:
        """The schema of an id. Raises UnknownSchema or RegistryAway."""
        try:
            with self._answered(f"GET schema {schema_id}"):
                found = self._client.get_schema(schema_id)
        except _NotThere as error:
            raise UnknownSchema(f"the schema registry {self.shown} has no schema {schema_id}: {error}") from None
        if (found.schema_type or "AVRO") != "AVRO" or found.references:
            kind = f"a {found.schema_type} schema" if not found.references else "a schema with references"
            raise UnknownSchema(f"schema {schema_id} of {self.shown} is {kind}; Amends reads self-contained Avro only")
        return self._parsed(found.schema_str, f"schema {schema_id}")

    def id_of(self, subject: str, schema: Schema) -> int:
        """The id of exactly this schema under this subject. Raises NotRegistered or RegistryAway."""
        try:
            with self._answered(f"look up {subject}"):
                found = self._client.lookup_schema(subject, _wrapped(schema)).schema_id
        except _NotThere as error:
            raise NotRegistered(f"{subject}: {error}") from None
        if not isinstance(found, int):
            raise RegistryAway(f"the schema registry {self.shown} found {subject} and names no id")
        return found

    def versions(self, subject: str) -> dict[int, Schema]:
        """All that was ever registered under a subject, by version; {} for an unknown one. Raises RegistryAway."""
        try:
            with self._answered(f"GET versions of {subject}"):
                numbers = self._client.get_versions(subject)
        except _NotThere:
            return {}
        found = {}
        for number in sorted(numbers):
            with self._answered(f"GET version {number} of {subject}"):
                text = self._client.get_version(subject, number).schema.schema_str
            found[number] = self._parsed(text, f"version {number} of {subject}")
        return found

    def accepts(self, subject: str, schema: Schema) -> bool:
        """Whether the registry itself would take it, by the level that its operators set. Raises RegistryAway."""
        if self._is_mock:
            return True  # The client's mock has no such endpoint; our own comparison is made before this one.
        with self._answered(f"check {subject}"):
            return bool(self._client.test_compatibility_all_versions(subject, _wrapped(schema)))

    def register(self, subject: str, schema: Schema) -> int:
        """Register it; the id. Raises DefinitionError if the registry refuses it, RegistryAway."""
        with self._answered(f"register {subject}"):
            return int(self._client.register_schema(subject, _wrapped(schema)))

    def protect(self, subject: str) -> str:
        """Give a subject a compatibility level if it has none of its own; the level it has. Raises RegistryAway."""
        from confluent_kafka.schema_registry import ConfigCompatibilityLevel, ServerConfig

        try:
            with self._answered(f"GET the compatibility of {subject}"):
                config = self._client.get_config(subject)
        except _NotThere:
            config = None
        level = None if config is None else config.compatibility_level or config.compatibility
        if level is not None:
            return str(getattr(level, "value", level))
        with self._answered(f"set the compatibility of {subject}"):
            self._client.set_config(subject, ServerConfig(compatibility=ConfigCompatibilityLevel(COMPATIBILITY)))
        return COMPATIBILITY

    def _parsed(self, text: str | None, what: str) -> Schema:
        try:
            return json.loads(text or "")
        except ValueError as error:
            raise RegistryAway(f"{what} of the schema registry {self.shown} is no JSON: {error}") from error

    @contextmanager
    def _answered(self, what: str) -> Iterator[None]:
        """One request. Raises _NotThere or DefinitionError for what is certain, RegistryAway for everything else."""
        from confluent_kafka.schema_registry import SchemaRegistryError

        try:
            yield
        except SchemaRegistryError as error:
            status, said = error.http_status_code, str(error.error_message)[:_ERROR_CHARS_MAX]
            if status == 404 and error.error_code in _NO_SUCH_ERROR:
                raise _NotThere(said) from error
            if status in _REFUSED:
                raise DefinitionError(f"{what}: the schema registry {self.shown} refuses: {said}") from error
            text = f"{what}: the schema registry {self.shown} answers {status}: {said}"
            if status in _UNAUTHORIZED:
                text += "; user and password stand in SCHEMA_REGISTRY_URL: https://user:password@host"
            raise RegistryAway(text) from error
        except Exception as error:
            # The client raises what its HTTP library does, and that library is one of two.
            reason = f"{type(error).__name__}: {error}"[:_ERROR_CHARS_MAX]
            raise RegistryAway(f"{what}: the schema registry {self.shown} is not reachable: {reason}") from error


def without_userinfo(url: str) -> str:
    """The URL, or the URLs, as they may be shown and as they name the registry."""
    shown = []
    for one in url.split(","):
        parts = urlsplit(one.strip())
        shown.append(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/"))
    return ",".join(shown)


def _credentials(url: str) -> dict[str, str]:
    parts = urlsplit(url.partition(",")[0].strip())
    if parts.username is None:
        return {}
    return {"basic.auth.user.info": f"{unquote(parts.username)}:{unquote(parts.password or '')}"}


def schema_text(schema: Schema) -> str:
    """A schema as it is sent: always the same text, for registries that compare texts."""
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def _wrapped(schema: Schema) -> Any:
    from confluent_kafka.schema_registry import Schema as Wrapped

    return Wrapped(schema_text(schema), "AVRO")
