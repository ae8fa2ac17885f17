"""What a run of the experiment does, from its command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CHARGES, SLOW_S, RESTART_S, DISTRACTION_S = 240, 3.0, 6.0, 0.005
FAST_CHARGES, FAST_SLOW_S, FAST_RESTART_S = 60, 0.5, 3.0


@dataclass(frozen=True, slots=True)
class Options:
    """`charges`: how many are open when the gateway goes down. `restart_s`: how long it is, if it is left in peace.

    `distraction_s`: how much longer for each request that it has to turn away meanwhile. Times in seconds.
    """

    charges: int = CHARGES
    slow_s: float = SLOW_S
    restart_s: float = RESTART_S
    distraction_s: float = DISTRACTION_S
    seed: int = 1
    var: Path = Path("var")

    @property
    def folder(self) -> Path:
        """Where the run leaves its files."""
        return self.var.absolute() / "rm45"


def parse(arguments: Sequence[str]) -> Options:
    """Raises SystemExit for what it does not understand."""
    parser = argparse.ArgumentParser(prog="python -m services.rm45", description=__doc__)
    parser.add_argument("--fast", action="store_true", help=f"{FAST_CHARGES} charges and a shorter outage")
    parser.add_argument("--charges", type=int, help=f"that are open when the gateway goes down ({CHARGES})")
    parser.add_argument("--seed", type=int, default=1, help="of what each of them costs")
    parser.add_argument("--var", type=Path, default=Path("var"), help="where the stack and the run keep their files")
    given = parser.parse_args(arguments)
    charges = given.charges if given.charges is not None else (FAST_CHARGES if given.fast else CHARGES)
    if charges < 1:
        parser.error(f"--charges {charges}: at least one has to be open")
    return Options(
        charges=charges,
        slow_s=FAST_SLOW_S if given.fast else SLOW_S,
        restart_s=FAST_RESTART_S if given.fast else RESTART_S,
        seed=given.seed,
        var=given.var,
    )
