"""Against a C call that holds the GIL stands a timer of the kernel, armed before the first turn (B4)."""

import signal
import subprocess
import sys

import pytest

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


# Somebody else's rubbish: a ring whose end takes longer than a turn may. Python code runs in it, as it does for each
# task that was in a WeakSet.
COLLECTS = """
import gc, time
from orchestrator import limits
from orchestrator.engine import poison
limits.TURN_SECONDS_MAX, poison.LOOK_EVERY_S = 0.4, 0.05

class Ring:
    def __init__(self):
        self.itself = self

    def __del__(self):
        for _ in range(100):
            time.sleep(0.01)

def turn(saga_id):
    if saga_id == "innocent":
        Ring()
        gc.collect()
    else:
        Ring().__del__()

interrupted = []
with poison.Watchdog(interrupted.append) as watchdog:
    began_s, wall_s = watchdog.clock(), time.perf_counter()
    with watchdog.turn(SAGA):
        turn(SAGA)
    counts = watchdog.clock() - began_s > (time.perf_counter() - wall_s) / 2
print(interrupted, counts)
"""


@pytest.mark.parametrize(("saga_id", "told"), [("innocent", "[] False"), ("long", "['long'] True")])
def test_a_collection_of_garbage_is_not_the_sagas_fault_in_whose_turn_it_falls(saga_id: str, told: str) -> None:
    program = f"SAGA = {saga_id!r}\n{COLLECTS}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stdout.strip(), ended.returncode) == (told, 0), ended.stderr
