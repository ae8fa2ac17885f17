"""The RM 45 experiment's judgements: what the gateway's book says of a run, what proves something, and the plot."""

import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from services.gateway.book import Book
from services.rm45 import ledger, plot
from services.rm45.ledger import Sums
from services.rm45.options import Options, parse
from services.rm45.report import Report, Row, table, verdict
from services.rm45.runs import KEY, LOOKUP, NO_KEY, RUNS, STORM, TRICKLE, Run, orders_of

PAID = Sums(
    requests=2,
    answers_lost=1,
    charges=1,
    cents=4500,
    orders_charged=1,
    requests_while_down=0,
    worst_second_down=0,
    down_s=None,
    well_again=False,
    per_second={0: 1, 1: 1},
)
DOUBLED = replace(PAID, charges=2, cents=9000)
STORMY = Sums(
    requests=700,
    answers_lost=0,
    charges=10,
    cents=100_000,
    orders_charged=10,
    requests_while_down=600,
    worst_second_down=75,
    down_s=12.0,
    well_again=True,
    per_second={-1: 4, 0: 60, 2: 75},
)
CALM = replace(STORMY, requests=30, requests_while_down=6, worst_second_down=4, down_s=6.0, per_second={0: 4, 3: 1})


def row(run: Run, sums: Sums) -> Row:
    if run.story == "lost answer":
        return Row(run, sums, orders=1, owed_cents=4500, completed=1)
    return Row(run, sums, orders=10, owed_cents=100_000, completed=10, open_when_down=9)


def report(change: Callable[[Row], Row] = lambda row: row) -> Report:
    sums = {NO_KEY: DOUBLED, KEY: PAID, LOOKUP: PAID, STORM: STORMY, TRICKLE: CALM}
    return Report(Options(), [change(row(run, sums[run])) for run in RUNS], seconds=60.0)


def changed(run: Run, **sums: object) -> Report:
    return report(lambda row: replace(row, sums=replace(row.sums, **sums)) if row.run == run else row)


def test_a_run_as_it_should_be_proves_it() -> None:
    told = report()
    assert (told.exit_code, told.violations, told.why_nothing_proved) == (0, [], [])
    assert "paid RM 90.00 without a key, and RM 45.00 with it" in verdict(told)
    assert "well again after 12.0 s; with the breaker after 6.0 s" in verdict(told)


@pytest.mark.parametrize("run", [KEY, LOOKUP, STORM, TRICKLE], ids=lambda run: run.name)
def test_a_protected_order_that_is_charged_twice_is_a_violation(run: Run) -> None:
    told = changed(run, charges=11)
    assert told.exit_code == 1
    assert told.violations[0].startswith(f"{run.name}: ")
    assert "A PROTECTION DID NOT HOLD" in verdict(told)


def test_money_that_nobody_owes_is_a_violation() -> None:
    assert changed(TRICKLE, cents=100_001).violations == ["trickle: RM 1,000.01 were taken, RM 1,000.00 are owed"]


def test_with_the_breaker_every_order_has_to_be_completed() -> None:
    told = report(lambda row: replace(row, completed=9) if row.run == TRICKLE else row)
    assert told.violations == ["trickle: 1 orders were not completed"]


def test_without_it_orders_may_give_up_and_the_gateway_may_stay_down() -> None:
    told = report(
        lambda row: replace(row, completed=3, sums=replace(STORMY, well_again=False)) if row.run == STORM else row
    )
    assert told.exit_code == 0
    assert "never well again" in verdict(told)
    assert "to the end" in table(told)


@pytest.mark.parametrize(
    ("run", "sums", "reason"),
    [
        (NO_KEY, {"answers_lost": 0}, "no answer was lost (no-key)"),
        (KEY, {"answers_lost": 0}, "no answer was lost (key)"),
        (NO_KEY, {"charges": 1}, "without a key the customer was not charged twice"),
        (STORM, {"requests_while_down": 20}, "it was no storm: 1.7 requests a second without the breaker, 1.0 with it"),
        (TRICKLE, {"down_s": None}, "the gateway was not down in both outages"),
    ],
)
def test_a_run_that_shows_nothing_says_so(run: Run, sums: dict[str, object], reason: str) -> None:
    told = changed(run, **sums)
    assert told.exit_code == 3
    assert told.why_nothing_proved == [reason]
    assert reason in verdict(told)


def test_a_run_in_which_most_charges_were_over_before_the_outage_shows_nothing() -> None:
    told = report(lambda row: replace(row, open_when_down=4) if row.run == STORM else row)
    assert told.exit_code == 3


def test_the_sums_are_the_books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests before the gateway is down, three while it is, three after, and those of another run beside them."""
    book = Book(tmp_path / "book")

    def asked(at_s: float, order: str, phase: str, answer: str) -> None:
        monkeypatch.setattr(time, "time", lambda: 1000.0 + at_s)
        book.end(book.begin("charge", f"k{at_s}", order, phase), answer)

    for at_s, phase in ((-9.0, "slow"), (0.0, "down"), (2.5, "normal"), (9.0, "normal")):
        book.note_phase(phase, 1000.0 + at_s)
    asked(-1.5, "storm-001", "slow", "lost")
    asked(-0.5, "storm-002", "slow", "sent")
    asked(-0.4, "trickle-001", "slow", "sent")
    asked(0.0, "storm-001", "down", "hung up")
    asked(0.2, "storm-002", "down", "turned away")
    asked(1.0, "storm-001", "down", "hung up")
    for at_s in (3.0, 3.1, 3.2):
        asked(at_s, "storm-001", "normal", "sent")
    book.charge("a", "storm-001", "card", 4500)
    book.charge("b", "storm-001", "card", 4500)
    book.charge("c", "storm-002", "card", 100)
    book.charge("d", "trickle-001", "card", 7)
    book.close()
    sums = ledger.read(tmp_path / "book", STORM)
    assert sums == Sums(
        requests=8,
        answers_lost=1,
        charges=3,
        cents=9100,
        orders_charged=2,
        requests_while_down=3,
        worst_second_down=2,
        down_s=2.5,
        well_again=True,
        per_second={-2: 1, -1: 1, 0: 2, 1: 1, 3: 3},
    )
    assert (sums.worst_second, sums.down_per_s) == (3, 1.2)


def test_a_book_without_the_run_has_sums_of_nothing(tmp_path: Path) -> None:
    Book(tmp_path / "book").close()
    sums = ledger.read(tmp_path / "book", KEY)
    assert (sums.requests, sums.charges, sums.worst_second, sums.down_per_s) == (0, 0, 0, None)


def test_the_seed_says_what_everybody_owes() -> None:
    assert [order.amount for order in orders_of(NO_KEY, 240, 1)] == [Decimal("45.00")]
    storm, trickle = orders_of(STORM, 240, 7), orders_of(TRICKLE, 240, 7)
    assert [order.amount for order in storm] == [order.amount for order in trickle]
    assert [order.amount for order in storm] != [order.amount for order in orders_of(STORM, 240, 8)]
    assert len({order.order_id for order in (*storm, *trickle)}) == 480


def test_the_options_say_what_is_wrong_with_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["--fast"]).charges < parse([]).charges == 240
    with pytest.raises(SystemExit):
        parse(["--charges", "0"])
    assert "at least one" in capsys.readouterr().err


def corners(path: str) -> list[tuple[float, float]]:
    """The points of a path of M, V and H."""
    points, x, y = [], 0.0, 0.0
    words = path.split()
    while words:
        word = words.pop(0)
        match word[0]:
            case "M":
                x, y = float(word[1:]), float(words.pop(0))
            case "V":
                y = float(word[1:])
            case "H":
                x = float(word[1:])
        points.append((x, y))
    return points


def test_the_plot_has_a_step_for_each_second_of_both_runs() -> None:
    picture = ET.fromstring(plot.draw(STORMY, CALM))
    lines = {each.get("class"): each.get("d") or "" for each in picture.iter("{http://www.w3.org/2000/svg}path")}
    scale = plot.Scale(-1, 4, 75)
    storm, trickle = corners(lines["storm"]), corners(lines["trickle"])
    tops = [scale.y(requests) for requests in (4, 60, 0, 75)]
    assert [y for _, y in storm[2:-1:2]] == tops  # every second point ends a step
    assert [x for x, _ in storm[2:-1:2]] == [scale.x(second) for second in range(4)]
    assert min(y for _, y in trickle) == scale.y(4)
    assert all(0 <= x <= plot.WIDTH and 0 <= y <= plot.HEIGHT for x, y in (*storm, *trickle))


def test_the_plot_says_in_words_what_it_shows() -> None:
    text = plot.draw(STORMY, CALM)
    assert "75 in the worst second of the outage, 700 in all" in text
    assert "well again after 12.0 s" in text
    assert "well again after 12.0 s" not in plot.draw(replace(STORMY, well_again=False), CALM)
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize(("most", "step"), [(1, 1), (6, 1), (7, 2), (60, 10), (61, 20), (137, 50), (700, 200)])
def test_ticks_are_round_and_few(most: int, step: int) -> None:
    assert plot.tick_step(most) == step
