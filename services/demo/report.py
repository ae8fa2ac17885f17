"""The report: what happened, what the books say, and whether that proves anything."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from services.auditor import Audit
from services.demo.faults import Fault
from services.demo.look import STAGES
from services.demo.options import Options
from services.demo.outcomes import missing_outcomes
from services.demo.world import World

SECONDS_MAX = 90.0
VIOLATIONS_SHOWN = 20
EXIT_VIOLATIONS, EXIT_PROVED_NOTHING = 1, 3


@dataclass(frozen=True, slots=True)
class Run:
    """What a run led to. `missed`: what the script wanted to show and could not."""

    options: Options
    world: World
    outcomes: Mapping[str, int]
    faults: Sequence[Fault]
    missed: Sequence[str]
    audit: Audit
    seconds: float
    open_least: int | None
    example: tuple[str, str]  # id of a compensated saga, and its drawing

    @property
    def why_nothing_proved(self) -> list[str]:
        """Reasons; none if the demo proved what it set out to."""
        reasons = list(self.missed)
        missing = missing_outcomes(self.outcomes, self.options)
        if missing:
            reasons.append(f"no checkout ended by: {', '.join(missing)}")
        if not self.audit.ledgers["double_attempts"]:
            reasons.append("no effect was attempted twice")
        if self.open_least is None or self.open_least < self.options.open_min:
            reasons.append(f"fewer than {self.options.open_min} sagas were open: {self.open_least}")
        return reasons

    @property
    def exit_code(self) -> int:
        """0 proved, 1 something is lost or doubled, 3 nothing proved."""
        if self.audit.violations:
            return EXIT_VIOLATIONS
        return EXIT_PROVED_NOTHING if self.why_nothing_proved else 0

    def to_json(self) -> dict[str, Any]:
        """What stands in report.json."""
        return {
            "checkouts": self.audit.ledgers["placed"],
            "outcomes": dict(self.outcomes),
            "faults": [asdict(fault) for fault in self.faults],
            "double_attempts": self.audit.ledgers["double_attempts"],
            "events_consumed": self.audit.ledgers["events_consumed"],
            "seconds": round(self.seconds, 1),
            "violations": [asdict(violation) for violation in self.audit.violations],
        }


def write(run: Run) -> None:
    """Write report.json."""
    run.world.report_path.write_text(json.dumps(run.to_json(), indent=2) + "\n")


def text(run: Run) -> str:
    """The report for people."""
    sections = [
        outcomes_text(run),
        faults_text(run),
        ledgers_text(run.audit.ledgers),
        run.example[1],
        verdict_text(run),
    ]
    return "\n\n".join(sections)


def short(run: Run) -> str:
    """The same without the example and what to try next."""
    sections = [outcomes_text(run), faults_text(run), ledgers_text(run.audit.ledgers), verdict_text(run)]
    return "\n\n".join(sections).partition("\n\nTry next")[0]


def outcomes_text(run: Run) -> str:
    placed = run.audit.ledgers["placed"]
    lines = [f"{placed} checkouts in {run.seconds:.0f} s, at least {run.open_least} open at any time"]
    lines += [f"  {count:5}  {name.replace('_', ' ')}" for name, count in sorted(run.outcomes.items(), key=by_count)]
    if run.seconds > SECONDS_MAX:
        lines.append(f"  That is more than the {SECONDS_MAX:.0f} s that it should take: this machine is slow or busy.")
    return "\n".join(lines)


def by_count(pair: tuple[str, int]) -> int:
    return -pair[1]


def faults_text(run: Run) -> str:
    lines = ["SIGKILL, the sagas in each stage at that moment, and how long until the first of them went on"]
    names = [stage.replace("_", " ") for stage in STAGES]
    lines.append("  " + " " * 16 + "  ".join(names) + "  recovered in")
    for fault in run.faults:
        counts = "  ".join(f"{fault.open_by_stage[s]:>{len(name)}}" for s, name in zip(STAGES, names, strict=True))
        lines.append(f"  {fault.target:<16}{counts}  {fault.recovered_s:.2f} s")
    return "\n".join(lines)


def ledgers_text(sums: Mapping[str, Any]) -> str:
    captured, refunded = sums["captured_cents"], sums["refunded_cents"]
    gateway = f"captured {euros(captured)} - refunded {euros(refunded)} = {euros(captured - refunded)}"
    return "\n".join(
        [
            "The books",
            f"  gateway    {gateway}; paid orders come to {euros(sums['owed_cents'])}",
            f"  payments   {Decimal(sums['booked_by_payments']):,} booked and not refunded",
            f"  stock      {sums['things_off_the_shelves']} things left the shelves; {sums['things_sold']} were sold",
            f"  shipping   {sums['shipments']} shipments stand",
            f"  analytics  {sums['events_consumed']} events consumed; {sums['placed']} orders were placed",
            f"  {sums['double_attempts']} charges and refunds were attempted again, and by their key booked once",
        ]
    )


def euros(cents: int) -> str:
    return f"{cents / 100:,.2f}"


def verdict_text(run: Run) -> str:
    lines: list[str] = []
    if run.audit.violations:
        lines.append(f"{len(run.audit.violations)} VIOLATIONS")
        for violation in run.audit.violations[:VIOLATIONS_SHOWN]:
            lines.append(f"  {violation.order_id or '-'}: {violation.rule}: {violation.what}")
            lines.append(f"    look at {violation.look_at}")
    elif run.why_nothing_proved:
        lines.append("Every checkout is all done or nets to zero, but the demo proved nothing:")
        lines += [f"  {reason}" for reason in run.why_nothing_proved]
    else:
        lines.append("Every checkout is all done or nets to zero. No money and no stock was lost or doubled.")
    return "\n".join([*lines, "", "Try next", *(f"  {command}" for command in next_commands(run))])


def next_commands(run: Run) -> list[str]:
    return [
        f"make up && source {run.world.folder / 'env'}",
        "amends ls",
        f"amends show {run.example[0] or 'order-0002'}",
    ]
