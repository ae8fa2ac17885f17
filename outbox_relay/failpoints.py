"""Named places where a test may kill, stop or fail this process. In production nothing happens here but one look at a
global that is None.

AMENDS_FAILPOINTS names them: `engine.commit.before=kill@3,relay.delete.before=stop`: at the third hit the process is
killed, at the first it is stopped. AMENDS_FAILPOINTS_LOG names a file that gets a line a first hit, so that a test can
show which places were reached. Every commit and every produce in the code stands between two of these; a test holds
the code to it.
"""

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

Action = Literal["kill", "stop", "raise", "log"]


class FailpointReached(Exception):
    """What `raise` raises: an error that nobody expects."""


@dataclass(slots=True)
class _Armed:
    action: Action
    at: int
    hits: int = 0


_armed: dict[str, _Armed] | None = None
_log_path: str | None = None
_logged: set[str] = set()
_lock = threading.Lock()


def failpoint(name: str) -> None:
    """A place with a name. Costs a comparison."""
    if _armed is None:
        return
    _reached(name)


def arm(spec: str, log_path: str | None = None) -> None:
    """Arm from a specification (see above); an empty one only logs. Raises ValueError for an unknown action."""
    global _armed, _log_path  # one comparison with a global is all that production pays
    armed = {}
    for part in filter(None, spec.split(",")):
        name, _, what = part.partition("=")
        action, _, at = what.partition("@")
        if action not in get_args(Action):
            raise ValueError(f"AMENDS_FAILPOINTS: {part!r}: the action is kill, stop, raise or log")
        armed[name] = _Armed(cast("Action", action), int(at or 1))
    _armed, _log_path = armed, log_path
    _logged.clear()


def disarm() -> None:
    """Back to production."""
    global _armed  # noqa: PLW0603
    _armed = None


def _reached(name: str) -> None:
    with _lock:
        _log(name)
        armed = (_armed or {}).get(name)
        if armed is None:
            return
        armed.hits += 1
        if armed.hits != armed.at:
            return
    match armed.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "raise":
            raise FailpointReached(name)
        case "log":
            pass


def _log(name: str) -> None:
    if _log_path is not None and name not in _logged:
        _logged.add(name)
        with Path(_log_path).open("a", encoding="utf-8") as log:
            log.write(f"{name}\n")


if "AMENDS_FAILPOINTS" in os.environ:
    arm(os.environ["AMENDS_FAILPOINTS"], os.environ.get("AMENDS_FAILPOINTS_LOG"))
