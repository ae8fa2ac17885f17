"""The report: what was done to whom, when, how soon all moved again, and whether a book does not add up."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from services.auditor import Audit
from services.chaos.options import Options
from services.chaos.schedule import BY_NAME, Fault
from services.demo.report import VIOLATIONS_SHOWN, ledgers_text

EXIT_WRONG = 1


@dataclass(frozen=True, slots=True)
class Done:
    """A fault as it came about, in seconds. `began_s` since the opening; the two others since the end of the fault:
    until the first saga had advanced, and until every shard, service and orchestrator had moved.
    """

    fault: Fault
    began_s: float
    lasted_s: float
    first_s: float
    all_s: float
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run led to. `failure`: what ended it early; `state`: how things stood then; `lost`: what nobody took."""

    options: Options
    done: Sequence[Done]
    seconds: float
    placed: int
    asked_again: int
    outcomes: Mapping[str, int] = field(default_factory=dict)
    audit: Audit | None = None
    lost: int = 0
    failure: str = ""
    state: Sequence[str] = ()

    @property
    def exit_code(self) -> int:
        """0: all moved again after each fault, and the books add up."""
        wrong = self.failure or self.lost or self.audit is None or self.audit.violations
        return EXIT_WRONG if wrong else 0

    def to_json(self) -> dict[str, Any]:
        """What stands in report.json."""
        found = self.audit or Audit([])
        return {
            "seed": self.options.seed,
            "minutes": self.options.minutes,
            "repeat": self.options.command(),
            "seconds": round(self.seconds, 1),
            "checkouts": self.placed,
            "outcomes": dict(self.outcomes),
            "faults": [
                {**asdict(done.fault), **{key: value for key, value in asdict(done).items() if key != "fault"}}
                for done in self.done
            ],
            "double_attempts": found.ledgers.get("double_attempts", 0),
            "events_consumed": found.ledgers.get("events_consumed", 0),
            "asked_again": self.asked_again,
            "dead_letters": self.lost,
            "violations": [asdict(violation) for violation in found.violations],
            "failure": self.failure,
            "state": list(self.state),
            "exit_code": self.exit_code,
        }


def write(run: Run, path: Path) -> None:
    """Write report.json."""
    path.write_text(json.dumps(run.to_json(), indent=2) + "\n")


def text(run: Run) -> str:
    """The report for people."""
    sections = ["\n".join(table(run.done)), "\n".join(counted(run))]
    if run.audit is not None:
        sections.append(ledgers_text(run.audit.ledgers))
    return "\n\n".join([*sections, "\n".join(verdict(run))])


def table(done: Sequence[Done]) -> Iterator[str]:
    yield "What was done to whom, and how long after its end the first saga went on, and all had moved"
    yield f"  {'at':>7}  {'fault':<23}{'target':<41}{'lasted':>8}{'first':>9}{'all':>9}"
    for one in done:
        fault = one.fault
        times = f"{one.lasted_s:6.1f} s{one.first_s:7.2f} s{one.all_s:7.2f} s"
        yield f"  {one.began_s:6.1f}s  {fault.kind:<23}{fault.target:<41}{times}  {one.remark}".rstrip()


def counted(run: Run) -> Iterator[str]:
    kinds = Counter(done.fault.kind for done in run.done)
    yield f"{run.placed} checkouts in {run.seconds:.0f} s, {len(run.done)} faults of {len(kinds)} kinds"
    for name, count in sorted(run.outcomes.items(), key=lambda pair: -pair[1]):
        yield f"  {count:5}  {name.replace('_', ' ')}"
    yield f"  {run.asked_again:5}  times a shopper had to ask again"


def verdict(run: Run) -> Iterator[str]:
    violations = run.audit.violations if run.audit is not None else ()
    if run.failure:
        yield run.failure
        yield from (f"  {line}" for line in run.state)
    if violations:
        yield f"{len(violations)} VIOLATIONS"
    for violation in violations[:VIOLATIONS_SHOWN]:
        yield f"  {violation.order_id or '-'}: {violation.rule}: {violation.what}"
        yield f"    look at {violation.look_at}"
    if run.lost:
        yield f"{run.lost} messages lie in amends.dead_letters or amends.outbox_dead"
    if run.exit_code == 0:
        yield "After each fault all moved again. Every checkout is all done or nets to zero."
        yield "No money and no stock was lost or doubled. To do the same again:"
    else:
        yield f"Logs and databases' names are in {run.options.folder}. To do the same again:"
    yield run.options.command()


def explained(fault: Fault) -> str:
    """One line, as it happens."""
    lasting = f" for {fault.duration_s:g} s" if fault.duration_s else ""
    return f"{fault.kind}: {fault.target}{lasting} ({BY_NAME[fault.kind].says})"
