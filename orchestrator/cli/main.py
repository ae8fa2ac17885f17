"""Entry: the options before the command, the commands, and what an error looks like at the edge."""

import io
import json
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import logs
from orchestrator.cli import api, exits, installation, local, outbox, processes, reading, relay, schemas, verbs
from orchestrator.cli.context import CONTEXT
from orchestrator.errors import AmendsError

HELP = """Durable sagas on the Kafka and the Postgres that you already run.

DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS say where they are; unset, those of the local stack that runs in `var`
(`amends up`) are used."""

app = typer.Typer(
    name="amends",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich is not imported for help either
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for group in (reading, verbs, processes, relay, local, installation, schemas, outbox, api):
    group.add_to(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(_version())
        raise typer.Exit


@app.callback()
def options(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, whatever the command.")] = False,
    var: Annotated[Path, typer.Option("--var", envvar="AMENDS_VAR", help="The directory of the local stack.")] = Path(
        "var"
    ),
    log_level: Annotated[
        str, typer.Option("--log-level", envvar="AMENDS_LOG_LEVEL", help="debug, info, warning or error.")
    ] = "info",
    log_format: Annotated[
        logs.LogFormat,
        typer.Option(
            "--log-format", envvar="AMENDS_LOG_FORMAT", help="console, json; auto: json unless on a terminal."
        ),
    ] = "auto",
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    CONTEXT.as_json, CONTEXT.var = as_json, var
    logs.setup(log_level, log_format)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; end with one of the codes in `exits`."""
    if arguments is None:
        arguments = sys.argv[1:]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # In a pipe, too, a line stands before the remark that follows it.
    try:
        app(args=list(arguments), prog_name="amends")
    except KeyboardInterrupt:
        sys.exit(exits.INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # `amends ls | head`: nobody reads on, and that is no error of ours.
        sys.exit(exits.OK)
    except Exception as error:
        if not _is_ours(error):
            raise
        _say(error, as_json=CONTEXT.as_json or ("--json" in arguments and "start" not in arguments))
        sys.exit(exits.code_of(error))


def _is_ours(error: Exception) -> bool:
    """What was raised on purpose, by us or the outbox; the rest is a bug, and its traceback is wanted."""
    outbox_errors = sys.modules.get("outbox_relay.errors")
    return isinstance(error, AmendsError) or (
        outbox_errors is not None and isinstance(error, outbox_errors.OutboxError)
    )


def _say(error: Exception, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": type(error).__name__, "text": str(error)}, ensure_ascii=False))
        return
    print(f"amends: {error}", file=sys.stderr)


def _version() -> str:
    try:
        return version("amends")
    except PackageNotFoundError:
        return "0.1.0 (from a checkout)"
