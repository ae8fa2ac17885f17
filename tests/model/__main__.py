"""`python -m tests.model [-v] [M1 M3 ...]`: walk the machines with all their rules, then without each of them.

Exit status 0: with all rules every promise holds, and each rule's absence was found (or is listed as redundant, with
its reason). -v tells the shortest story of each mutant.
"""

import sys

from tests.model import fence, identity, outcome, relay, timers, wipe
from tests.model.rules import Result, examine

SUBJECTS = (fence.SUBJECT, outcome.SUBJECT, relay.SUBJECT, timers.SUBJECT, wipe.SUBJECT, identity.SUBJECT)


def main(arguments: list[str]) -> int:
    wanted = {a.upper() for a in arguments if not a.startswith("-")}
    subjects = [s for s in SUBJECTS if not wanted or s.name.split()[0] in wanted]
    print(f"{'machine':32} {'states':>9} {'CPU s':>7}  mutants found")
    results = []
    for subject in subjects:
        results.append(examine(subject))
        _show(results[-1], verbose="-v" in arguments)
    surprises = [told for result in results for told in result.surprises]
    for told in surprises:
        print(f"\nNOT as expected: {told}")
    print("all as expected" if not surprises else f"\n{len(surprises)} surprises")
    return 1 if surprises else 0


def _show(result: Result, *, verbose: bool) -> None:
    found = sum(mutant.found for mutant in result.mutants)
    redundant = sum(bool(rule.redundant) for rule in result.subject.rules.values())
    for number, (name, verdict) in enumerate(result.whole):
        mutants = f"{found} of {len(result.mutants)}" + (f" ({redundant} redundant)" if redundant else "")
        last = number == len(result.whole) - 1
        print(f"{name:32} {verdict.states:9,} {verdict.seconds:7.1f}  {mutants if last else ''}", flush=True)
    for mutant in result.mutants if verbose else ():
        print(f"   without {mutant.rule}: {mutant.verdict.problem or 'nothing is found'}")
        for at, step in enumerate(mutant.verdict.story, 1):
            print(f"      {at:2}. {step}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
