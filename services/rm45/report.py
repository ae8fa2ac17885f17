"""The table, what it proves, and what it does not."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from services.rm45.ledger import Sums
from services.rm45.options import Options
from services.rm45.runs import KEY, LOOKUP, NO_KEY, PRICE, STORM, TRICKLE, Run, Story

EXIT_VIOLATIONS, EXIT_PROVED_NOTHING = 1, 3
STORM_TIMES_MIN = 3.0  # a storm is at least so many times the trickle, in requests a second while it was down
TITLES: dict[Story, str] = {
    "lost answer": "A customer pays RM 45.00. The gateway charges, its answer is lost, the call is tried again.",
    "outage": "The gateway is slow, then restarts; each request that it turns away makes that take longer.",
}
HEADINGS = ("protections", "requests", "charges", "money taken", "down for", "while down", "worst second", "completed")


@dataclass(frozen=True, slots=True)
class Row:
    """One run. `sums` come from the gateway's book, the rest from whoever ordered: `completed` is what sagas said."""

    run: Run
    sums: Sums
    orders: int
    owed_cents: int
    completed: int
    open_when_down: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """All rows, in the order of the runs."""

    options: Options
    rows: Sequence[Row]
    seconds: float

    def row(self, run: Run) -> Row:
        """Of this run."""
        return next(row for row in self.rows if row.run == run)

    @property
    def violations(self) -> list[str]:
        """Where a protection did not do what it is there for."""
        found = [f"{each.run.name}: {what}" for each in self.rows if each.run != NO_KEY for what in wrong_with(each)]
        trickle = self.row(TRICKLE)
        if trickle.completed < trickle.orders:
            found.append(f"{trickle.run.name}: {trickle.orders - trickle.completed} orders were not completed")
        return found

    @property
    def why_nothing_proved(self) -> list[str]:
        """Reasons; none if the run showed what it set out to."""
        reasons = [
            f"no answer was lost ({run.name})" for run in (NO_KEY, KEY, LOOKUP) if self.row(run).sums.answers_lost == 0
        ]
        if self.row(NO_KEY).sums.charges < 2:
            reasons.append("without a key the customer was not charged twice")
        storm, trickle = self.row(STORM), self.row(TRICKLE)
        reasons += [
            f"fewer than half of the charges were open when the gateway went down ({row.run.name})"
            for row in (storm, trickle)
            if (row.open_when_down or 0) * 2 < row.orders
        ]
        there, here = storm.sums.down_per_s, trickle.sums.down_per_s
        if there is None or here is None:
            return [*reasons, "the gateway was not down in both outages"]
        if there < here * STORM_TIMES_MIN:
            reasons.append(f"it was no storm: {there:.1f} requests a second without the breaker, {here:.1f} with it")
        return reasons

    @property
    def exit_code(self) -> int:
        """0 proved, 1 a protection failed, 3 nothing proved."""
        if self.violations:
            return EXIT_VIOLATIONS
        return EXIT_PROVED_NOTHING if self.why_nothing_proved else 0

    def to_json(self) -> dict[str, Any]:
        """What stands in report.json."""
        return {
            "seed": self.options.seed,
            "seconds": round(self.seconds, 1),
            "runs": {row.run.name: as_json(row) for row in self.rows},
            "violations": self.violations,
            "why_nothing_proved": self.why_nothing_proved,
        }


def wrong_with(row: Row) -> list[str]:
    """What a customer would complain about."""
    sums, found = row.sums, []
    if sums.charges != sums.orders_charged:
        found.append(f"{sums.orders_charged} orders were charged {sums.charges} times")
    if row.completed == row.orders and sums.cents != row.owed_cents:
        found.append(f"{ringgit(sums.cents)} were taken, {ringgit(row.owed_cents)} are owed")
    return found


def as_json(row: Row) -> dict[str, Any]:
    """One run's numbers."""
    sums = row.sums
    return {
        "story": row.run.story,
        "protections": row.run.protections,
        "requests": sums.requests,
        "answers_lost": sums.answers_lost,
        "charges": sums.charges,
        "money_taken_cents": sums.cents,
        "money_owed_cents": row.owed_cents,
        "requests_in_the_worst_second_while_down": sums.worst_second_down,
        "requests_while_down": sums.requests_while_down,
        "down_s": sums.down_s,
        "well_again": sums.well_again,
        "requests_a_second_while_down": sums.down_per_s,
        "orders": row.orders,
        "orders_completed": row.completed,
        "open_when_down": row.open_when_down,
        "requests_by_second": {str(second): count for second, count in sorted(sums.per_second.items())},
    }


def write(report: Report, path: Path) -> None:
    """Write report.json."""
    path.write_text(json.dumps(report.to_json(), indent=2) + "\n")


def text(report: Report) -> str:
    """The report for people."""
    return f"{table(report)}\n\n{verdict(report)}"


def table(report: Report) -> str:
    """Both stories; every number but the last column is the gateway's."""
    lines: list[str] = []
    for story, title in TITLES.items():
        cells = [cells_of(row) for row in report.rows if row.run.story == story]
        lines += ["", title, "", *aligned([HEADINGS, *cells])]
    return "\n".join(lines[1:])


def cells_of(row: Row) -> tuple[str, ...]:
    """In the order of HEADINGS."""
    sums = row.sums
    while_down = "-" if sums.down_per_s is None else f"{sums.down_per_s:,.1f}/s"
    worst = "-" if sums.down_s is None else f"{sums.worst_second_down:,}/s"
    down_for = "-" if sums.down_s is None else f"{sums.down_s:.1f} s" if sums.well_again else "to the end"
    return (
        row.run.protections,
        f"{sums.requests:,}",
        f"{sums.charges:,}",
        ringgit(sums.cents),
        down_for,
        while_down,
        worst,
        f"{row.completed} of {row.orders}",
    )


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Words to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(widths[n]) for n, cell in enumerate(row[1:], start=1))])
        for row in rows
    ]


def ringgit(cents: int) -> str:
    return f"RM {Decimal(cents) / 100:,.2f}"


def verdict(report: Report) -> str:
    """In words."""
    if report.violations:
        return "\n".join(["A PROTECTION DID NOT HOLD", *(f"  {what}" for what in report.violations)])
    if report.why_nothing_proved:
        return "\n".join(["The run proved nothing:", *(f"  {reason}" for reason in report.why_nothing_proved)])
    storm, trickle = report.row(STORM).sums, report.row(TRICKLE).sums
    lost = report.row(NO_KEY).sums.cents
    well = f"was well again after {storm.down_s or 0:.1f} s" if storm.well_again else "was never well again"
    return (
        f"The customer who owes {ringgit(int(PRICE * 100))} paid {ringgit(lost)} without a key, and "
        f"{ringgit(report.row(KEY).sums.cents)} with it.\n"
        f"Under the storm the gateway {well}; with the breaker after {trickle.down_s or 0:.1f} s."
    )
