"""Write docs/reference/cli.md from the commands: python -m tests.unit.client.reference."""

import inspect
from pathlib import Path
from typing import Any

import typer

from orchestrator.cli import exits
from orchestrator.cli.main import app

HEAD = """# The command line

Written from the commands by `python -m tests.unit.client.reference`; a test holds it against them.

`amends [--json] [--var DIR] [--log-level LEVEL] [--log-format FORMAT] COMMAND …`. DATABASE_URL and
KAFKA_BOOTSTRAP_SERVERS say where the servers are; unset, those of the local stack that runs in `var` are used. Results
go to stdout, remarks to stderr.
`--json` stands before the command or behind it; only `start` needs it before, because there it is the saga's input.
"""


def commands() -> dict[str, Any]:
    """All of them by what is typed; those of a group as `outbox ls`."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", {})
        if not inner or command.invoke_without_command:
            found[name] = command
        found |= {f"{name} {below}": one for below, one in inner.items()}
    return found


def cli_reference() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(_command(name, command) for name, command in commands().items()), _codes(), ""])


def _command(name: str, command: Any) -> str:
    *text, example = inspect.cleandoc(command.help).split("\n\n")
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join(["amends", name, *(p.metavar or p.name.upper() for p in arguments)])
    rows = [(p.metavar or p.name.upper(), p.help) for p in arguments]
    rows += [(" ".join(p.opts), p.help) for p in command.params if p.param_type_name == "option"]
    table = ["| | |", "| --- | --- |", *(f"| `{left}` | {right} |" for left, right in rows)] if rows else []
    return "\n".join(
        [f"## {name}", "", *(f"{part}\n" for part in text), f"    {usage}", "", *table, "", f"{example.strip()}", ""]
    )


def _codes() -> str:
    return "\n".join(["## Exit codes", "", *(f"- `{code}` {meaning}" for code, meaning in exits.MEANINGS.items())])


if __name__ == "__main__":
    path = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"
    path.write_text(cli_reference())
