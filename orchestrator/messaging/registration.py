"""A deploy's step: compare an app's schemas with what a registry has, and register them. Nobody does so at run time.

Our own comparison comes first, with every version there is: it is stricter than Avro's, because our messages refuse
fields that they don't know. The registry's own check comes second, by the level that its operators chose.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.errors import DefinitionError
from orchestrator.messaging.avro_walk import Schema
from orchestrator.messaging.registry import NotRegistered, Registry
from orchestrator.messaging.schema_files import incompatible


@dataclass(frozen=True, slots=True)
class Registered:
    """One subject after `register`. `level` is its compatibility in the registry; `is_new`: this call wrote it."""

    subject: str
    id: int
    level: str
    is_new: bool


def problems_with(registry: Registry, schemas: Mapping[str, Schema]) -> list[str]:
    """Why these schemas may not be registered, one line each; [] is well. A subject that is not there yet is well.

    BLOCKS; raises RegistryAway.
    """
    return [problem for subject, schema in schemas.items() for problem in _problems(registry, subject, schema)]


def register(registry: Registry, schemas: Mapping[str, Schema]) -> list[Registered]:
    """Register all of them, or none if one is incompatible. BLOCKS; raises DefinitionError, RegistryAway."""
    if problems := problems_with(registry, schemas):
        raise DefinitionError(
            "\n".join(
                [f"nothing was registered at {registry.shown}: not compatible with what was sent before:", *problems]
            )
        )
    return [_register(registry, subject, schema) for subject, schema in schemas.items()]


def _problems(registry: Registry, subject: str, schema: Schema) -> list[str]:
    versions = registry.versions(subject)
    problems = [
        f"{subject}, version {number} of {registry.shown}: {problem}"
        for number, version in versions.items()
        for problem in incompatible(schema, version)
    ]
    if not problems and versions and not registry.accepts(subject, schema):
        problems.append(f"{subject}: {registry.shown} would refuse it by the compatibility that is set there")
    return problems


def _register(registry: Registry, subject: str, schema: Schema) -> Registered:
    level = registry.protect(subject)
    try:
        return Registered(subject, registry.id_of(subject, schema), level, is_new=False)
    except NotRegistered:
        return Registered(subject, registry.register(subject, schema), level, is_new=True)
