"""The contracts of an app: write them to files, check that they still read what was sent, register them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import output
from orchestrator.cli.context import AsJson, wants_json
from orchestrator.errors import DefinitionError, RequestError

if TYPE_CHECKING:
    from orchestrator.messaging.registry import Registry

AppArgument = Annotated[
    str | None,
    typer.Argument(metavar="[MODULE:APP]", envvar="AMENDS_APP", help="Whose messages, as in shop.app:app."),
]

app = typer.Typer(no_args_is_help=True, help="The .avsc contracts of an app, and the schema registry.")


def add_to(above: typer.Typer) -> None:
    """Register this group's commands."""
    for name, command in (("write", write), ("check", check), ("register", register)):
        app.command(name)(command)
    above.add_typer(app, name="schemas")


def write(target: AppArgument = None, as_json: AsJson = False) -> None:
    """Write schemas/*.avsc from an app's messages.

    Refuses a change that could not read what was sent before; former versions stay in schemas/former.

    Example: amends schemas write shop.app:app
    """
    from orchestrator.messaging import schema_files

    _load(target)
    written = [str(path) for path in schema_files.write_schemas(_directory(), schema_files.published_types())]
    if wants_json(as_json):
        output.print_json({"written": written})
        return
    output.print_lines(written)
    output.say(f"{len(written)} written" if written else "all are up to date")


def check(target: AppArgument = None, as_json: AsJson = False) -> None:
    """Check that files and registry fit an app's messages.

    Writes nothing. Exit code 6 for a file that differs from its class and for a class that could not read what was
    sent before: by the files and their former versions and, with SCHEMA_REGISTRY_URL, by the registry's.

    Example: amends schemas check shop.app:app
    """
    from orchestrator.messaging import framing, registration, schema_files

    _load(target)
    problems = schema_files.check_schemas(_directory())
    registry = _registry()
    if registry is not None:
        problems += registration.problems_with(registry, framing.subjects(schema_files.published_types()))
    if problems:
        raise DefinitionError("\n".join(problems))
    checked = [str(_directory()), *([] if registry is None else [registry.shown])]
    if wants_json(as_json):
        output.print_json({"checked": checked})
        return
    output.say(f"the classes fit {' and '.join(checked)}")


def register(target: AppArgument = None, as_json: AsJson = False) -> None:
    """Register an app's schemas, as a step of a deploy.

    At SCHEMA_REGISTRY_URL, under each record's name: all of them, or none if one is incompatible. A subject without a
    compatibility level gets BACKWARD_TRANSITIVE. Safe to repeat; processes never register.

    Example: amends schemas register shop.app:app
    """
    from orchestrator.messaging import framing, registration, schema_files

    _load(target)
    if (registry := _registry()) is None:
        raise RequestError("SCHEMA_REGISTRY_URL is not set: it says where to register, as https://user:password@host")
    found = registration.register(registry, framing.subjects(schema_files.published_types()))
    if wants_json(as_json):
        output.print_json(found)
        return
    rows = [[one.subject, str(one.id), one.level, "registered" if one.is_new else "was there"] for one in found]
    output.print_table(["subject", "id", "compatibility", ""], rows)
    output.say(f"{sum(one.is_new for one in found)} of {len(found)} registered at {registry.shown}")


def _load(target: str | None) -> None:
    from orchestrator.loading import load_app

    if target is not None:
        load_app(target)


def _directory() -> Path:
    """Where the schemas are; a build step needs no database, so no settings are read."""
    return Path(os.environ.get("AMENDS_SCHEMAS_DIR", "schemas"))


def _registry() -> "Registry | None":
    from orchestrator.messaging.registry import Registry

    url = os.environ.get("SCHEMA_REGISTRY_URL")
    return Registry(url) if url else None
