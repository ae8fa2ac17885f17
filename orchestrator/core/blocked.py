"""What takes a saga out of service, and the control flow that no author sees.

Blocked means: this turn is not stored, nothing of it leaves, the live saga is thrown away. The way back is to deploy
the fix and to unblock the saga, which replays its journal and takes up where it was.
"""

import os
import sys
from pathlib import Path
from types import FrameType

from orchestrator.errors import AmendsError
from orchestrator.problems import Problem

_OURS = str(Path(__file__).resolve().parent.parent)
_STDLIB = str(Path(os.__file__).parent)


class Blocked(AmendsError):
    """The saga is quarantined: nothing of this turn was emitted. `problem` is what the saga's row shows."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.type}: {problem.text}")
        self.problem = problem


class Evicted(BaseException):
    """Raised by every operation while a parked saga is being thrown out of memory, so that `finally` blocks do none."""


class TurnTooLong(BaseException):
    """Raised by the engine's watchdog inside a turn that runs too long (see `LiveSaga.interrupt`)."""


def blocked(kind: str, text: str) -> Blocked:
    """A Blocked of our own making; `kind` is what people see as the type of the problem."""
    return Blocked(Problem(kind="error", type=kind, text=text, effect="none"))


def author_line(frame: FrameType | None = None) -> str:
    """`file:line` of the author's code that is running: the innermost frame that is no library's and not ours."""
    innermost = at = frame or sys._getframe(1)
    while at is not None:
        file = at.f_code.co_filename
        if not (file.startswith((_OURS, _STDLIB, "<")) or "site-packages" in file):
            return f"{file}:{at.f_lineno}"
        if at.f_back is None:
            break
        at = at.f_back
    return f"{innermost.f_code.co_filename}:{innermost.f_lineno}"
