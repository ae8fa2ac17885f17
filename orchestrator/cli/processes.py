"""The processes of an app: orchestrator and participant."""

from typing import Annotated

import typer

from orchestrator import logs
from orchestrator.cli.context import CONTEXT
from orchestrator.errors import DefinitionError

Target = Annotated[str, typer.Argument(metavar="MODULE:APP", help="An App, or what it would list: shop.app:app.")]


def add_to(app: typer.Typer) -> None:
    """Register this group's commands."""
    app.command("orchestrator")(orchestrator)
    app.command("participant")(participant)


def orchestrator(target: Target) -> None:
    """Run the sagas of an app until SIGTERM.

    Run as many of these as you like: they share the shards.

    Example: amends orchestrator shop.app:app
    """
    from orchestrator.loading import load_app
    from orchestrator.run import run_orchestrator

    logs.adopt_structlog()
    run_orchestrator(load_app(target), CONTEXT.settings())


def participant(
    target: Target,
    only: Annotated[list[str] | None, typer.Option("--only", help="Of an App, only this participant.")] = None,
) -> None:
    """Run participants until SIGTERM.

    DATABASE_URL is the service's own database.

    Example: amends participant shop.payments:payments
    """
    from orchestrator.loading import load_app
    from orchestrator.run import run_participants

    logs.adopt_structlog()
    found = load_app(target).participants
    if missing := sorted(set(only or ()) - {one.name for one in found}):
        there = ", ".join(one.name for one in found) or "none"
        raise DefinitionError(f"{target} has no participant {', '.join(missing)}; it has {there}")
    run_participants([one for one in found if not only or one.name in only], CONTEXT.settings())
