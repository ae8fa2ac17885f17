"""The local stack: up, down, dev, and kill for those who want to see it recover."""

import os
import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import logs
from orchestrator.cli import output
from orchestrator.cli.context import CONTEXT, AsJson, wants_json
from orchestrator.errors import LocalStackError

KILL_WAIT_S = 5.0
KILL_POLL_S = 0.02
NEVER_KILLED = ("postgres", "kafka")  # the keeper's: they come back by themselves, so this would show nothing


def add_to(app: typer.Typer) -> None:
    """Register this group's commands."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("dev")(dev)
    app.command("kill")(kill)


def up(as_json: AsJson = False) -> None:
    """Start a real Postgres and a real Kafka here.

    Without Docker; they stay until `amends down`.

    Example: amends up
    """
    from orchestrator.local.background import up_in_background
    from orchestrator.settings import local_environment

    up_in_background(CONTEXT.var, progress=output.say)
    variables = local_environment(CONTEXT.var)
    if wants_json(as_json):
        output.print_json(variables)
        return
    output.print_lines(f"export {name}={value}" for name, value in variables.items())
    output.say("up; amends finds it by itself. Next: amends dev app.py, or amends doctor")


def down(as_json: AsJson = False) -> None:
    """End the local stack; its data stays.

    Example: amends down
    """
    from orchestrator.local.background import down as end

    ended = end(CONTEXT.var)
    if wants_json(as_json):
        output.print_json({"ended": ended})
        return
    output.say("the stack is down" if ended else "nothing was running")


def dev(
    target: Annotated[str, typer.Argument(metavar="FILE|MODULE:APP", help="app.py, or shop.app:app.")],
) -> None:
    """Run everything of an app in one process.

    The local stack, the relay, the sagas and the participants found there.
    DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS name servers to use instead of the stack's. Ctrl-C ends it.

    Example: amends dev app.py
    """
    import asyncio

    from orchestrator.dev import run_dev
    from orchestrator.loading import load_app

    logs.adopt_structlog()
    asyncio.run(run_dev(load_app(target), CONTEXT.var, output.say))


def kill(
    what: Annotated[str, typer.Argument(metavar="NAME", help="orchestrator, relay, payments … or orchestrator-2.")],
    signal_name: Annotated[str, typer.Option("--signal", help="KILL, TERM, STOP, CONT.")] = "KILL",
    as_json: AsJson = False,
) -> None:
    """Chaos: kill a process of the local stack.

    And watch that nothing is lost. Only what runs in `var` is touched.

    Example: amends kill orchestrator
    """
    from orchestrator.local.processes import PidFile

    number = getattr(signal, f"SIG{signal_name.upper().removeprefix('SIG')}", None)
    if number is None:
        raise typer.BadParameter(f"{signal_name!r} is no signal", param_hint="--signal")
    files = {path.stem: PidFile.read(path) for path in sorted((CONTEXT.var / "run").glob("*.json"))}
    alive = {name: file.identity for name, file in files.items() if file and file.identity.is_alive()}
    name = next((n for n in alive if n == what), None) or next((n for n in alive if n.startswith(f"{what}-")), None)
    if name is None or name in NEVER_KILLED:
        there = ", ".join(n for n in alive if n not in NEVER_KILLED) or "none"
        raise LocalStackError(
            f"no process {what} of this stack runs (in {Path(CONTEXT.var).absolute()} there are: {there}). "
            "With `amends dev` all is one process: kill that one"
        )
    os.kill(alive[name].pid, number)
    if number == signal.SIGKILL:
        end_s = time.monotonic() + KILL_WAIT_S
        while alive[name].is_alive() and time.monotonic() < end_s:
            time.sleep(KILL_POLL_S)
    if wants_json(as_json):
        output.print_json({"name": name, "pid": alive[name].pid, "signal": int(number)})
        return
    output.say(
        f"sent {signal.Signals(number).name} to {name} (process {alive[name].pid}); look: amends ls, amends doctor"
    )
