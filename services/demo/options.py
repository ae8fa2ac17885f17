"""What a run of the demo does, from its command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Fault = Literal["orchestrator", "gateway", "analytics", "relay", "payments"]
FAULTS: tuple[Fault, ...] = get_args(Fault)

CHECKOUTS, OPEN_MIN, KILLS = 200, 40, 2
SLOW_S, DOWN_S = 4.0, 6.0
FAST_CHECKOUTS, FAST_KILLS, FAST_SLOW_S, FAST_DOWN_S = 40, 1, 2.0, 3.0


@dataclass(frozen=True, slots=True)
class Options:
    """`checkouts` is at least how many; more are started while faults are still to come. Times in seconds."""

    checkouts: int = CHECKOUTS
    open_min: int = OPEN_MIN
    kills: int = KILLS
    faults: frozenset[Fault] = frozenset(FAULTS)
    slow_s: float = SLOW_S
    down_s: float = DOWN_S
    seed: int = 1
    var: Path = Path("var")
    record: Path | None = None

    @property
    def folder(self) -> Path:
        """Where the run leaves its files."""
        return self.var.absolute() / "demo"


def parse(arguments: Sequence[str]) -> Options:
    """Raises SystemExit for what it does not understand."""
    parser = argparse.ArgumentParser(prog="python -m services.demo", description=__doc__)
    parser.add_argument("--fast", action="store_true", help=f"{FAST_CHECKOUTS} checkouts, one kill, a short outage")
    parser.add_argument("--checkouts", type=int, help=f"at least so many ({CHECKOUTS})")
    parser.add_argument("--open", type=int, help=f"sagas open at any time ({OPEN_MIN})")
    parser.add_argument("--kills", type=int, help=f"of the orchestrator ({KILLS})")
    parser.add_argument("--faults", default=",".join(FAULTS), help=f"of {', '.join(FAULTS)}; '' for none")
    parser.add_argument("--seed", type=int, default=1, help="of what is ordered")
    parser.add_argument("--var", type=Path, default=Path("var"), help="where the stack and the demo keep their files")
    parser.add_argument("--record", type=Path, metavar="FILE.svg", help="make a picture of the view that plays")
    given = parser.parse_args(arguments)
    chosen = [fault for fault in given.faults.split(",") if fault]
    unknown = set(chosen) - set(FAULTS)
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}. There are: {', '.join(FAULTS)}")
    checkouts = given.checkouts or (FAST_CHECKOUTS if given.fast else CHECKOUTS)
    return Options(
        checkouts=checkouts,
        open_min=given.open or min(OPEN_MIN, checkouts),
        kills=given.kills if given.kills is not None else (FAST_KILLS if given.fast else KILLS),
        faults=frozenset(fault for fault in FAULTS if fault in chosen),
        slow_s=FAST_SLOW_S if given.fast else SLOW_S,
        down_s=FAST_DOWN_S if given.fast else DOWN_S,
        seed=given.seed,
        var=given.var,
        record=given.record,
    )
