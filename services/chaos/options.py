"""What a run does, from its command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

from services.chaos.schedule import BY_NAME, KINDS, Fault, Kind, schedule

MINUTES, RATE_PER_S, PATIENCE_S = 10.0, 2.0, 60.0
SEED_MAX = 9_999


@dataclass(frozen=True, slots=True)
class Options:
    """`patience_s`: how long after a fault everybody may take until they have moved again."""

    seed: int
    minutes: float = MINUTES
    rate_per_s: float = RATE_PER_S
    patience_s: float = PATIENCE_S
    kinds: tuple[Kind, ...] = KINDS
    var: Path = Path("var")

    @property
    def folder(self) -> Path:
        """The run's own stack and all its files."""
        return self.var.absolute() / "chaos"

    def faults(self) -> list[Fault]:
        """The schedule."""
        return schedule(self.seed, self.minutes * 60, self.kinds)

    def command(self) -> str:
        """What to type to have the same schedule again."""
        only = "" if self.kinds == KINDS else f" ONLY={','.join(kind.name.replace(' ', '-') for kind in self.kinds)}"
        return f"make chaos MINUTES={self.minutes:g} SEED={self.seed}{only}"


def parse(arguments: Sequence[str]) -> Options:
    """Raises SystemExit for what it does not understand."""
    parser = argparse.ArgumentParser(prog="python -m services.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"how long it breaks things ({MINUTES:g})")
    parser.add_argument("--seed", type=int, help="of what is done, and of what is ordered; else any")
    parser.add_argument("--rate", type=float, default=RATE_PER_S, help=f"checkouts a second ({RATE_PER_S:g})")
    parser.add_argument("--patience", type=float, default=PATIENCE_S, help=f"seconds to recover in ({PATIENCE_S:g})")
    parser.add_argument("--only", default="", help=f"of {', '.join(BY_NAME)}; with - for blanks")
    parser.add_argument("--var", type=Path, default=Path("var"), help="where its files go: VAR/chaos")
    parser.add_argument("--list", action="store_true", help="print the schedule and do nothing")
    given = parser.parse_args(arguments)
    chosen = [name.replace("-", " ") for name in given.only.split(",") if name]
    if unknown := set(chosen) - BY_NAME.keys():
        parser.error(f"no such fault: {', '.join(sorted(unknown))}. There are: {', '.join(BY_NAME)}")
    options = Options(
        seed=given.seed if given.seed is not None else SystemRandom().randint(1, SEED_MAX),
        minutes=given.minutes,
        rate_per_s=given.rate,
        patience_s=given.patience,
        kinds=tuple(kind for kind in KINDS if kind.name in chosen) if chosen else KINDS,
        var=given.var,
    )
    if given.list:
        for fault in options.faults():
            print(f"{fault.at_s:7.1f}  {fault.kind:<24}{fault.target:<44}{fault.duration_s:5.1f} s")
        parser.exit()
    return options
