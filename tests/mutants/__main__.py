"""`python -m tests.mutants`: each planted bug must turn a test of its rule red.

    python -m tests.mutants                     all of them; starts servers unless the environment names some
    python -m tests.mutants --pure              those that need no servers
    python -m tests.mutants --rule 8 --rule 9
    python -m tests.mutants --name tombstone

Exits with 1 if one survives, with 2 if the tests fail without any bug or the code has moved away under a mutant.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.local.stack import running_stack
from tests.mutants import pure, served
from tests.mutants.mutant import Mutant, MutantOutdated
from tests.mutants.run import ControlFailed, Find, Nursery

SERVERS = ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS")
ALL = (*pure.MUTANTS, *served.MUTANTS)


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parsed(arguments)
    mutants = [m for m in ALL if _is_wanted(m, given)]
    if not mutants:
        print("no mutant has that name, rule or kind")
        return 2
    with tempfile.TemporaryDirectory(prefix="amends-mutants-") as folder, _servers(Path(folder), mutants):
        try:
            return _report(list(_finds(Path(folder), mutants)))
        except (MutantOutdated, ControlFailed) as error:
            print(error)
            return 2


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--pure", action="store_true", help="only those that need no servers")
    parser.add_argument("--rule", type=int, action="append", help="only those of this rule")
    parser.add_argument("--name", default="", help="only those whose name has this in it")
    return parser.parse_args(arguments)


def _is_wanted(mutant: Mutant, given: argparse.Namespace) -> bool:
    of_rule = given.rule is None or mutant.rule in given.rule
    return of_rule and given.name in str(mutant) and not (given.pure and mutant.needs_servers)


@contextmanager
def _servers(folder: Path, mutants: Sequence[Mutant]) -> Iterator[None]:
    if all(name in os.environ for name in SERVERS) or not any(mutant.needs_servers for mutant in mutants):
        yield
        return
    with running_stack(folder / "servers") as running:
        os.environ.update(running.stack.environment())
        yield


def _finds(folder: Path, mutants: Sequence[Mutant]) -> Iterator[Find]:
    for mutant in mutants:
        mutant.applied()  # All of them are looked at before minutes are spent on the first.
    with Nursery(folder) as nursery:
        nursery.control(mutants)
        for mutant in mutants:
            find = nursery.find(mutant)
            print(f"{find.seconds:5.1f} s  {mutant!s:60} {find.killed_by or 'SURVIVED'}", flush=True)
            yield find


def _report(finds: Sequence[Find]) -> int:
    survivors = [find for find in finds if not find.killed_by]
    for find in survivors:
        print(f"\n{find.mutant} survived: nothing in tests/rules holds rule {find.mutant.rule} there\n{find.output}")
    rules = len({find.mutant.rule for find in finds})
    seconds = sum(find.seconds for find in finds)
    print(f"{len(finds) - len(survivors)} of {len(finds)} planted bugs in {rules} rules were found, in {seconds:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
