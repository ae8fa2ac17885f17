"""What commands print: lines for people, JSON for programs, tables only where there is a terminal.

rich draws the tables if it is installed and stdout is a terminal; it is imported at the first table, so that no process
of the runtime ever carries it.
"""

import dataclasses
import importlib.util
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

CELL_CHARS_MAX = 60


def print_json(value: Any) -> None:
    """One JSON document on one line: `jq` and line readers both take it."""
    print(json.dumps(to_json(value), ensure_ascii=False))


def to_json(value: Any) -> Any:
    """Dataclasses as objects, times as ISO 8601, tuples as arrays."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    match value:
        case datetime():
            return value.isoformat()
        case dict():
            return {str(key): to_json(item) for key, item in value.items()}
        case list() | tuple() | set():
            return [to_json(item) for item in value]
    return value


def print_lines(lines: Iterable[str]) -> None:
    """Plain lines, each written at once: `main` sees to that."""
    for line in lines:
        print(line)


def say(text: str) -> None:
    """A remark that is no result: to stderr, so that pipes stay clean."""
    print(text, file=sys.stderr, flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table; without a terminal columns are parted by two blanks or more, nothing is cut, and no colour is used."""
    cells = [[cell(value) for value in row] for row in rows]
    if sys.stdout.isatty() and importlib.util.find_spec("rich") is not None:
        _print_rich(columns, cells)
        return
    widths = [max(len(column), *(len(row[n]) for row in cells), 0) for n, column in enumerate(columns)]
    for row in [list(columns), *cells]:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def cell(value: Any) -> str:
    """A value as a cell shows it."""
    match value:
        case None:
            return ""
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        case str():
            return " ".join(value.split())
    return str(value)


def shortened(text: str, chars_max: int = CELL_CHARS_MAX) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= chars_max else line[: chars_max - 1] + "…"


def compact(value: Any) -> str:
    """JSON for a cell."""
    return shortened(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")))


def _print_rich(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*(Text(text) for text in row))  # Text: an id with brackets is no markup.
    Console().print(table)
