"""Against a C call that holds the GIL stands a timer of the kernel, armed before the first turn (B4)."""

import signal
import subprocess
import sys

HANGS_AT_ONCE = """
import re
from orchestrator.engine.poison import Watchdog
with Watchdog(lambda saga_id: None) as watchdog, watchdog.turn("h"):
    re.match(r"(a+)+$", "a" * 60 + "b")
"""


def test_a_first_turn_that_holds_the_gil_ends_the_process_and_tells_where() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HANGS_AT_ONCE], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == -signal.SIGPROF
    assert "re/__init__.py" in ended.stderr or "re.py" in ended.stderr
