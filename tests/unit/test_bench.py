"""What `make bench` makes of its figures: what a slower machine owes, and the rows that it writes."""

import pytest

from tests.bench import __main__ as bench
from tests.bench import page
from tests.bench.targets import REFERENCE_COMMITS_PER_S, TARGETS, Target


@pytest.mark.parametrize(
    ("target", "reference", "owed"),
    [
        (Target("steps/s", 6_000, at_least=True), REFERENCE_COMMITS_PER_S, 6_000),
        (Target("steps/s", 6_000, at_least=True), REFERENCE_COMMITS_PER_S / 2, 3_000),
        (Target("steps/s", 6_000, at_least=True), REFERENCE_COMMITS_PER_S * 2, 6_000),
        (Target("ms", 9), REFERENCE_COMMITS_PER_S / 2, 18),
        (Target("ms", 9), REFERENCE_COMMITS_PER_S * 2, 9),
        (Target("CPU-s", 0.1), REFERENCE_COMMITS_PER_S / 2, 0.2),
        (Target("bytes", 300), REFERENCE_COMMITS_PER_S / 2, 300),
        (Target("ratio", 0.9, at_least=True), REFERENCE_COMMITS_PER_S / 2, 0.9),
    ],
)
def test_rates_and_times_are_judged_by_the_machine(target: Target, reference: float, owed: float) -> None:
    assert target.owed(reference) == owed
    assert target.met(owed, reference)
    assert not target.met(owed * (0.99 if target.at_least else 1.01), reference)


def test_a_row_says_what_was_reached_and_what_was_owed() -> None:
    found = {bench.REFERENCE: [12_500.0], "remote_steps_per_s": [2_900.0], "local_p50_ms": [8.5]}
    values = {name: each[0] for name, each in found.items()}
    rows = bench._rows(dict(values))
    assert rows == [
        {"id": bench.REFERENCE, "value": 12_500, "unit": "commits/s", "target": None, "met": None},
        {"id": "remote_steps_per_s", "value": 2_900.0, "unit": "steps/s", "target": 3_000.0, "met": False},
        {"id": "local_p50_ms", "value": 8.5, "unit": "ms", "target": 18, "met": True},
    ]
    assert [line.split()[0] for line in bench._table(rows, found).splitlines()] == ["id", *values]


def test_every_target_has_a_unit_that_says_which_way_is_better() -> None:
    assert {name for name, target in TARGETS.items() if target.at_least} == {
        name for name in TARGETS if name.endswith(("_per_s", "_ratio"))
    }


def test_each_target_has_its_row_on_both_pages() -> None:
    assert set(page.WHAT) == {page.REFERENCE, *TARGETS}
    for path in page.PAGES:
        _, _, rest = path.read_text().partition(page.BEGIN)
        shown, _, _ = rest.partition(page.END)
        assert [what for what in page.WHAT.values() if f"| {what} |" not in shown] == []


def test_a_page_keeps_what_is_around_its_table() -> None:
    text = f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n"
    assert page.with_table(text, "new") == f"before\n{page.BEGIN}\nnew\n{page.END}\nafter\n"
