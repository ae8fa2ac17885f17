"""What every command has at hand: where the settings come from, and whether to print JSON."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.settings import Settings, read_settings

if TYPE_CHECKING:
    from orchestrator.client import SyncClient

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
SagaId = Annotated[str, typer.Argument(metavar="ID", help="The saga's id.")]
Note = Annotated[str, typer.Option("--note", help="Why, for those who read it later.")]
AppOption = Annotated[
    str | None,
    typer.Option("--app", envvar="AMENDS_APP", metavar="MODULE:APP", help="Where the code is, as in shop.app:app."),
]


@dataclass(slots=True)
class Context:
    """Of one call of `amends`."""

    var: Path = Path("var")
    as_json: bool = False

    def settings(self) -> Settings:
        """From the environment, else of the local stack that runs in `var`. Raises DependencyError."""
        return read_settings(self.var)

    @contextmanager
    def client(self) -> "Iterator[SyncClient]":
        """A client of this call."""
        from orchestrator.client import SyncClient

        with SyncClient(self.settings()) as client:
            yield client


CONTEXT = Context()
"""One call, one process: main() fills it in from the options that stand before the command."""


def wants_json(as_json: bool) -> bool:
    """`amends --json ls` and `amends ls --json` are the same."""
    return as_json or CONTEXT.as_json


Command = Callable[..., Any]
