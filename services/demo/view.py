"""Shows the board: redrawn in place on a terminal, a line now and then elsewhere."""

import asyncio
import sys
from contextlib import suppress
from typing import Any

from services.demo.board import Board, in_order

FRAME_S = 0.2
LINE_S = 2.0
NOTES_SHOWN = 12
BAR_CHARS = 40


async def show(board: Board) -> None:
    """Until cancelled; the last state is shown once more then."""
    if sys.stdout.isatty():
        with suppress(ImportError):
            from rich.live import Live

            with Live(drawn(board), refresh_per_second=1 / FRAME_S, transient=False) as live:
                try:
                    while True:
                        await asyncio.sleep(FRAME_S)
                        live.update(drawn(board))
                finally:
                    live.update(drawn(board))
    await lines(board)


async def lines(board: Board) -> None:
    """Notes as they come, and between them the numbers."""
    printed, silent_s = 0, 0.0
    try:
        while True:
            printed = print_notes(board, printed)
            if silent_s >= LINE_S:
                print(f"{board.seconds:6.1f}  {numbers(board)}", flush=True)
                silent_s = 0.0
            await asyncio.sleep(FRAME_S)
            silent_s += FRAME_S
    finally:
        print_notes(board, printed)


def print_notes(board: Board, printed: int) -> int:
    """Print the notes that are new; return how many there are."""
    for at_s, what in list(board.notes)[printed:]:
        print(f"{at_s:6.1f}  * {what}", flush=True)
    return len(board.notes)


def numbers(board: Board) -> str:
    """Everything in one line."""
    states = "  ".join(f"{state} {count}" for state, count in in_order(board.states))
    return (
        f"{states} | commands {board.commands_per_s:.0f}/s, replies {board.replies_per_s:.0f}/s"
        f" | breaker {board.breaker}, parked {board.parked}"
    )


def drawn(board: Board) -> Any:
    """The same as a picture, for rich."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    states = Table.grid(padding=(0, 1))
    most = max([*board.states.values(), 1])
    for state, count in in_order(board.states):
        states.add_row(
            state, str(count), Text("█" * max(1, count * BAR_CHARS // most), style=COLOURS.get(state, "white"))
        )
    breaker = Text(f"breaker {board.breaker}", style="bold red" if board.breaker == "open" else "green")
    rates = Text(f"commands {board.commands_per_s:5.0f}/s   replies {board.replies_per_s:5.0f}/s   ")
    rates.append_text(breaker).append(f"   parked {board.parked}")
    notes = [Text(f"{at_s:6.1f} s  {what}", style=note_style(what)) for at_s, what in list(board.notes)[-NOTES_SHOWN:]]
    title = f"Amends  {board.seconds:.0f} s"
    return Panel(Group(states, Text(), rates, Text(), *notes), title=title, width=120)


def note_style(what: str) -> str:
    """A kill and its recovery are what the demo is about."""
    if what.startswith("SIGKILL"):
        return "bold red"
    return "bold green" if "recovered" in what else ""


COLOURS = {
    "queued": "grey50",
    "running": "cyan",
    "compensating": "yellow",
    "stuck": "red",
    "blocked": "red",
    "completed": "green",
    "failed": "magenta",
}
