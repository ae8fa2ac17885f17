"""Keeps what the view showed and makes one SVG of it that plays by itself: the picture at the top of the README.

Rich draws each frame; they lie on one another, all of one size, and CSS lets each be seen in its turn. Where nothing
plays, the last one is seen.
"""

import asyncio
import re
from io import StringIO
from pathlib import Path
from typing import Any

from services.demo.board import Board
from services.demo.view import FRAME_S, drawn

WIDTH, HEIGHT = 120, 30
FRAME_SHOWN_S, LAST_SHOWN_S = 1.2, 6.0
UNCHANGED_MAX_S = 3.0  # a frame now and then while nothing is noted
# Rich would have the browser fetch its font from elsewhere; what the reader has will do.
FONT_FACES = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
VIEW_BOX = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')


class Film:
    """Frames in the order in which they were seen."""

    def __init__(self) -> None:
        self._frames: list[Any] = []

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(self._frames)

    async def watch(self, board: Board) -> None:
        """Keep a frame whenever something is noted, until cancelled."""
        noted, silent_s = -1, 0.0
        while True:
            if len(board.notes) != noted or silent_s >= UNCHANGED_MAX_S:
                noted, silent_s = len(board.notes), 0.0
                self._frames.append(drawn(board))
            await asyncio.sleep(FRAME_S)
            silent_s += FRAME_S

    def add(self, text: str) -> None:
        """A last frame: the beginning of a text."""
        from rich.panel import Panel
        from rich.text import Text

        self._frames.append(Panel(Text("\n".join(text.splitlines()[: HEIGHT - 2])), title="Amends", width=WIDTH))

    def write(self, path: Path) -> None:
        """All frames as one SVG."""
        pictures = [_picture(frame, number) for number, frame in enumerate(self._frames)]
        found = VIEW_BOX.search(pictures[-1])
        assert found is not None, "rich draws every picture with a viewBox"
        total_s = FRAME_SHOWN_S * (len(pictures) - 1) + LAST_SHOWN_S
        style = (
            f".frame {{ visibility: hidden; animation: show {total_s:.1f}s step-end infinite }} @keyframes show "
            f"{{ 0% {{ visibility: visible }} {FRAME_SHOWN_S / total_s:.3%} {{ visibility: hidden }} }}"
        )
        shown = [
            f'<g class="frame" style="animation-delay: {number * FRAME_SHOWN_S:.1f}s">{picture}</g>'
            for number, picture in enumerate(pictures[:-1])
        ]
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {found[1]} {found[2]}"><style>{style}</style>'
        path.write_text("\n".join([head, pictures[-1], *shown, "</svg>\n"]))


def _picture(frame: Any, number: int) -> str:
    from rich.console import Console

    frame.height = HEIGHT
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
    console.print(frame)
    return FONT_FACES.sub("", console.export_svg(title="make demo", unique_id=f"frame{number}"))
