"""The outbox of a database: what waits, what is parked, and sending again. DATABASE_URL says whose."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import exits, output
from orchestrator.cli.context import CONTEXT, AsJson, wants_json

if TYPE_CHECKING:
    from outbox_relay.postgres import Session

ROWS_MAX = 10_000
Topic = Annotated[str, typer.Option("--topic", help="The topic's full name.")]

app = typer.Typer(no_args_is_help=True, help="Look at an outbox, and send again.")


def add_to(above: typer.Typer) -> None:
    """Register this group's commands."""
    for name, command in (("ls", ls), ("dead", dead), ("redrive", redrive), ("discard", discard), ("resend", resend)):
        app.command(name)(command)
    above.add_typer(app, name="outbox")


def ls(as_json: AsJson = False) -> None:
    """Show what waits in the outbox.

    Rows that are not acknowledged yet, by topic and partition, and how old the oldest is; it counts up to a limit.

    Example: amends outbox ls
    """
    from outbox_relay import table

    with _session() as session:
        waiting = sorted(table.pending(session), key=lambda one: (one.topic, one.partition))
    if wants_json(as_json):
        output.print_json(waiting)
    elif not waiting:
        output.say("nothing waits")
    else:
        output.print_table(
            ["topic", "partition", "rows", "oldest"],
            [[one.topic, one.partition, one.count, f"{one.age_s:.1f} s"] for one in waiting],
        )


def dead(
    after: Annotated[int, typer.Option("--after", help="Only rows with a greater seq.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, max=ROWS_MAX, help="How many at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List rows that Kafka did not take.

    And those that wait behind one, because their key or their topic is parked.

    Example: amends outbox dead
    """
    from outbox_relay import dead as dead_rows

    with _session() as session:
        rows = list(dead_rows.rows(session, after, limit))
    if wants_json(as_json):
        output.print_json(rows)
    elif not rows:
        output.say("nothing is parked")
    else:
        output.print_table(
            ["seq", "topic", "key", "type", "parks", "died", "error"],
            [[r.seq, r.topic, r.key, r.type, r.scope, r.died_at, output.shortened(r.error)] for r in rows],
        )
        output.say("mend the cause, then: amends outbox redrive --topic TOPIC [--key KEY]")


def redrive(
    topic: Topic,
    key: Annotated[str | None, typer.Option("--key", help="Only the rows of this key.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send parked rows again, in their order.

    The relay does it, within seconds: it alone knows what it has in its hands.

    Example: amends outbox redrive --topic payments.commands --key order-7
    """
    from outbox_relay import dead as dead_rows

    with _session() as session:
        asked = dead_rows.ask_redrive(session, topic, key)
    if wants_json(as_json):
        output.print_json({"asked": asked})
    elif asked:
        output.say(f"{asked} rows are to be sent again: the relay does it within seconds")
    else:
        output.say("nothing is parked there; look with: amends outbox dead")


def discard(
    seq: Annotated[int, typer.Argument(metavar="SEQ", help="Of `amends outbox dead`.")], as_json: AsJson = False
) -> None:
    """Give a parked row up for good.

    It is deleted; what waits behind it goes out with the next redrive. Exit code 3 if no such row parks anything.

    Example: amends outbox discard 4711
    """
    from outbox_relay import dead as dead_rows

    with _session() as session:
        found = dead_rows.discard(session, seq)
    if wants_json(as_json):
        output.print_json({"discarded": found})
    else:
        output.say(
            f"row {seq} is gone. Next: amends outbox redrive --topic TOPIC"
            if found
            else f"no row {seq} parks anything; look with: amends outbox dead"
        )
    if not found:
        raise typer.Exit(exits.NOT_FOUND)


def resend(
    topic: Topic,
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help="ISO time with zone, or so long ago: 90s, 30m, 2h.")
    ],
    as_json: AsJson = False,
) -> None:
    """Send again what Kafka had acknowledged.

    Starts, messages and events are kept for a day; who reads them twice knows them by their id.

    Example: amends outbox resend --topic orders.events --since 2h
    """
    from outbox_relay import sent

    moment = _moment(since)
    with _session() as session:
        count = sent.resend_since(session, topic, moment.isoformat())
    if wants_json(as_json):
        output.print_json({"resent": count, "since": moment})
    else:
        output.say(f"{count} rows acknowledged since {output.cell(moment)} UTC go out again")


def _moment(text: str) -> datetime:
    units = {"s": 1, "m": 60, "h": 3_600}
    if text[-1:] in units and text[:-1].isdecimal():
        return datetime.now(UTC) - timedelta(seconds=int(text[:-1]) * units[text[-1]])
    moment = None
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter(
            f"{text!r} is no time with a zone, and not 90s, 30m or 2h. For example 2026-01-31T08:00:00+00:00",
            param_hint="--since",
        )
    return moment


@contextmanager
def _session() -> "Iterator[Session]":
    """Raises DependencyError where there is no outbox, or no database."""
    import psycopg

    from orchestrator.client.pools import refused
    from orchestrator.errors import DependencyError
    from orchestrator.settings import without_password
    from outbox_relay.postgres import connect

    url = CONTEXT.settings().database_url.get_secret_value()
    try:
        with connect(url, "amends outbox") as session:
            yield session
    except psycopg.errors.UndefinedTable as error:
        raise DependencyError(f"{without_password(url)} has no outbox: run `amends migrate`") from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise DependencyError(refused(without_password(url), error)) from error
    except psycopg.OperationalError as error:
        raise DependencyError(f"{without_password(url)}: {str(error).strip()}. See: amends doctor") from error
