"""What each id of the registry stands for, in memory; whoever decodes never waits for the network.

A thread of its own asks the registry, again and again while it does not answer. Meanwhile the id is `pending`: who
reads holds back what he has read, and loses nothing. Three answers end that: the schema; a copy on disk of what the
registry said earlier; or the registry's word that it has no such schema, which makes a message undecodable.
"""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from orchestrator import limits
from orchestrator.errors import DefinitionError
from orchestrator.messaging import avro
from orchestrator.messaging.avro_walk import Schema
from orchestrator.messaging.registry import NotRegistered, RegistryAway
from orchestrator.messaging.schema_folder import SchemaFolder

log = logging.getLogger("orchestrator.messaging.schemas")


class Source(Protocol):
    """What is needed of a Registry."""

    def schema(self, schema_id: int) -> Schema: ...
    def id_of(self, subject: str, schema: Schema) -> int: ...


@dataclass(frozen=True, slots=True)
class _Unknown:
    """The registry had no such schema at this time (monotonic seconds), or none that we can read."""

    error: str
    asked_s: float


class SchemaIds:
    """Any thread may call; only `ids_of` blocks."""

    def __init__(self, registry: Source, folder: SchemaFolder) -> None:
        self._registry, self._folder = registry, folder
        self._codecs: dict[int, avro.Codec] = {}
        self._unknown: dict[int, _Unknown] = {}
        self._wanted: dict[int, None] = {}  # in the order in which they were met
        self._bell = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._next_try_s, self._delay_s = 0.0, 0.0
        self._away_since_s: float | None = None
        self._said_s = 0.0

    def ready(self, schema_id: int) -> bool:
        """Whether `codec` knows its answer; if not, it is asked for. An id that was unknown may be registered since."""
        if schema_id in self._codecs:
            return True
        unknown = self._unknown.get(schema_id)
        if unknown is not None and time.monotonic() - unknown.asked_s < limits.SCHEMA_ID_UNKNOWN_S:
            return True
        self._ask_for(schema_id)
        return False

    def codec(self, schema_id: int) -> avro.Codec:
        """Raises avro.SchemaPending (and asks), or UnknownSchema."""
        if (codec := self._codecs.get(schema_id)) is not None:
            return codec
        if (unknown := self._unknown.get(schema_id)) is not None:
            raise avro.UnknownSchema(unknown.error)
        self._ask_for(schema_id)
        raise avro.SchemaPending(schema_id)

    def ids_of(self, schemas: Mapping[str, Schema]) -> dict[str, int]:
        """The id of each, by subject, of the registry or, while it is away, of the disk. Blocks.

        Raises NotRegistered naming all that are not registered, RegistryAway when neither knows one of them.
        """
        found: dict[str, int] = {}
        missing: list[str] = []
        away: RegistryAway | None = None
        for subject, schema in schemas.items():
            try:
                # One that was away a moment ago is not waited for a hundred times.
                schema_id = self._registry.id_of(subject, schema) if away is None else self._kept_id(schema, away)
            except NotRegistered:
                missing.append(subject)
                continue
            except RegistryAway as error:
                if away is not None:
                    raise
                away = error
                schema_id = self._kept_id(schema, away)
            found[subject] = schema_id
            self._learn(schema_id, schema, from_registry=away is None)
        if missing:
            raise NotRegistered(
                f"the schema registry does not have the present schema of {', '.join(missing)}. Register it first, as "
                "a step of the deploy: amends schemas register MODULE:APP"
            )
        if away is not None:
            log.warning("%s; the ids of %s schemas are those it gave earlier", away, len(found))
        return found

    def close(self) -> None:
        """End the thread; what is pending stays so."""
        with self._bell:
            self._is_closed = True
            self._bell.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(limits.REGISTRY_TIMEOUT_S)

    def _kept_id(self, schema: Schema, away: RegistryAway) -> int:
        schema_id = self._folder.find(schema)
        if schema_id is None:
            raise away
        return schema_id

    def _learn(self, schema_id: int, schema: Schema, *, from_registry: bool) -> None:
        try:
            codec = avro.register(schema)
        except Exception as error:
            # Anybody may have registered anything: a kind of Avro that our walkers do not know, a schema that is none.
            text = f"schema {schema_id} of the registry can't be used here: {type(error).__name__}: {error}"
            self._unknown_now(schema_id, text)
            return
        if from_registry:
            self._folder.keep(schema_id, schema)
        self._codecs[schema_id] = codec
        self._unknown.pop(schema_id, None)

    def _unknown_now(self, schema_id: int, text: str) -> None:
        if len(self._unknown) >= limits.SCHEMA_IDS_UNKNOWN_MAX:
            self._unknown.pop(next(iter(self._unknown)))
        self._unknown.pop(schema_id, None)
        self._unknown[schema_id] = _Unknown(text, time.monotonic())

    # --- the thread

    def _ask_for(self, schema_id: int) -> None:
        with self._bell:
            if schema_id in self._wanted or self._is_closed:
                return
            self._wanted[schema_id] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="amends-schemas", daemon=True)
                self._thread.start()
            self._bell.notify_all()

    def _run(self) -> None:
        while True:
            with self._bell:
                self._bell.wait_for(lambda: self._wanted or self._is_closed)
                if self._is_closed:
                    return
                wanted = list(self._wanted)
            if time.monotonic() >= self._next_try_s:
                self._ask(wanted)
            for schema_id in wanted:
                self._look_on_disk(schema_id)  # those that the registry has not answered
            with self._bell:
                if self._wanted and not self._is_closed:
                    # A new id rings: it may be on disk, whenever the registry is tried again.
                    self._bell.wait(max(0.0, self._next_try_s - time.monotonic()))

    def _ask(self, wanted: list[int]) -> None:
        try:
            for schema_id in wanted:
                try:
                    schema = self._registry.schema(schema_id)
                except (avro.UnknownSchema, DefinitionError) as error:
                    self._unknown_now(schema_id, str(error))
                else:
                    self._learn(schema_id, schema, from_registry=True)
                self._answered(schema_id)
                self._is_back()
        except RegistryAway as error:
            self._is_away(error, wanted)
        except Exception:
            # The thread must outlive whatever a registry can think of: without it shards would stand still for ever.
            log.exception("the schema registry's answer could not be used; it is asked again")
            self._next_try_s = time.monotonic() + limits.REGISTRY_RETRY_MAX_S

    def _look_on_disk(self, schema_id: int) -> None:
        if schema_id in self._wanted and (schema := self._folder.read(schema_id)) is not None:
            self._learn(schema_id, schema, from_registry=False)
            self._answered(schema_id)

    def _answered(self, schema_id: int) -> None:
        with self._bell:
            self._wanted.pop(schema_id, None)

    def _is_away(self, error: RegistryAway, wanted: list[int]) -> None:
        now = time.monotonic()
        self._delay_s = min(max(self._delay_s * 2, limits.REGISTRY_RETRY_FIRST_S), limits.REGISTRY_RETRY_MAX_S)
        self._next_try_s = now + self._delay_s
        if self._away_since_s is None:
            self._away_since_s = now
        elif now - self._said_s < limits.REGISTRY_SAY_EVERY_S:
            return
        self._said_s = now
        log.error("%s; messages of the schemas %s wait for it (%.0f s so far), none is lost", error,
                  ", ".join(map(str, wanted[:10])), now - self._away_since_s)  # fmt: skip

    def _is_back(self) -> None:
        self._next_try_s = self._delay_s = 0.0
        if (since_s := self._away_since_s) is not None:
            self._away_since_s = None
            log.warning("the schema registry answers again, after %.1f s", time.monotonic() - since_s)
