"""The relay: run it, switch its mode while it runs, and see how it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestrator.cli import exits, output
from orchestrator.cli.context import CONTEXT, AsJson, wants_json
from orchestrator.errors import RequestError
from orchestrator.settings import without_password

if TYPE_CHECKING:
    from outbox_relay.postgres import Session

RelayMode = Literal["cdc", "polling", "external"]
Databases = Annotated[
    list[str] | None, typer.Option("--database", metavar="URL", help="Again for each; else DATABASE_URL.")
]

app = typer.Typer(invoke_without_command=True)


def add_to(above: typer.Typer) -> None:
    """Register this group's commands."""
    app.callback()(relay)
    app.command("switch")(switch)
    app.command("status")(status)
    above.add_typer(app, name="relay")


def relay(
    context: typer.Context,
    databases: Databases = None,
    mode: Annotated[
        RelayMode, typer.Option("--mode", help="Until somebody switches. external: Debezium sends, this deletes.")
    ] = "cdc",
    slot: Annotated[
        str | None,
        typer.Option("--slot", metavar="NAME", help="Mode external: Debezium's; {database} stands for the database's."),
    ] = None,
) -> None:
    """Move outboxes to Kafka until SIGTERM.

    One process serves several databases. Start a second one as a standby: one sends, the other takes over. What
    `amends relay switch` has stored in a database goes before `--mode cdc` and `--mode polling`. In mode external the
    slot is called amends_outbox, unless --slot says otherwise.

    Example: amends relay --database $ORCHESTRATOR_URL --database $PAYMENTS_URL
    """
    if context.invoked_subcommand is not None:
        if databases or slot or mode != "cdc":
            raise typer.BadParameter(f"put the options behind the verb: amends relay {context.invoked_subcommand} …")
        return
    if slot is not None and mode != "external":
        raise typer.BadParameter("--slot is of mode external: the relay names the slot of its own by itself")
    from orchestrator.run import run_relay

    run_relay(_urls(databases), CONTEXT.settings(), mode, slot)


def switch(
    mode: Annotated[
        Literal["cdc", "polling", "default"],
        typer.Argument(metavar="MODE", help="cdc, polling, or default: what each relay was started with."),
    ],
    databases: Databases = None,
    as_json: AsJson = False,
) -> None:
    """Change how the outbox is read, while it is read.

    The wish is stored in the database: the relay at work obeys within a second, its standbys when they take over. To
    polling drops the slot; back to cdc makes one, and polling goes on until it is there. Exit code 4, and nothing is
    changed, where a relay runs in mode external: there somebody else sends.

    Example: amends relay switch polling --database $PAYMENTS_URL
    """
    from outbox_relay import lease

    for url in _urls(databases):
        with _session(url) as session:
            heard = lease.switch(session, None if mode == "default" else mode)
        if heard is None:
            raise RequestError(
                f"{without_password(url)}: its relay runs in mode external, so Debezium sends and two would. Nothing "
                "was changed. Stop both, then: amends relay --mode cdc"
            )
        if wants_json(as_json):
            output.print_json({"database": without_password(url), "wanted": mode, "at_work": heard})
        else:
            said = "the relay obeys within a second" if heard else "no relay is at work; the next one obeys"
            output.say(f"{without_password(url)}: {mode} from now on; {said}. See: amends relay status")


def status(databases: Databases = None, as_json: AsJson = False) -> None:
    """Show which mode is wanted and which there is.

    And since when, who has the lease, what the slot keeps, and what was found wrong with it last. Exit code 8 where no
    relay lives.

    Example: amends relay status --database $PAYMENTS_URL
    """
    found = [_status(url) for url in _urls(databases)]
    if wants_json(as_json):
        output.print_json(found)
    else:
        for one in found:
            output.print_table(["", one["database"]], [[name, value] for name, value in list(one.items())[1:]])
    if not all(one["alive"] for one in found):
        raise typer.Exit(exits.UNHEALTHY)


def _status(url: str) -> dict[str, Any]:
    from orchestrator.doctor_relay import RELAY_SILENT_S
    from outbox_relay import lease, slot

    with _session(url) as session:
        how = lease.status(session)
        before = slot.noted(session)
        there = slot.status(session, slot.name_of(session))
    alive = how.holder is not None and how.beat_s is not None and how.beat_s < RELAY_SILENT_S
    return {
        "database": without_password(url),
        "alive": alive,
        "holder": how.holder,
        "epoch": how.epoch,
        "switched_to": how.wanted,
        "switched_at": how.wanted_at,
        "wanted": how.health.get("wanted"),
        "state": how.state,
        "since": how.state_at,
        "slot": before.name,
        "slot_state": how.health.get("slot"),
        "slot_keeps_bytes": there.retained_bytes if there is not None else 0,
        "trouble": before.lost,
        "trouble_at": before.lost_at,
        "error": how.health.get("error"),
    }


def _urls(databases: list[str] | None) -> list[str]:
    return databases or [CONTEXT.settings().database_url.get_secret_value()]


@contextmanager
def _session(url: str) -> "Iterator[Session]":
    """Raises DependencyError where there is no relay's table, or no database."""
    import psycopg

    from orchestrator.errors import DependencyError
    from outbox_relay.postgres import connect

    try:
        with connect(url, "amends relay") as session:
            yield session
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise DependencyError(
            f"{without_password(url)} has no outbox, or one of an older version: run `amends migrate`"
        ) from error
    except psycopg.OperationalError as error:
        raise DependencyError(f"{without_password(url)}: {str(error).strip()}. See: amends doctor") from error
