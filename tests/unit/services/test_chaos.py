"""The schedule of a run is its seed's, and its report tells a good run from a bad one."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import get_args

import pytest

from orchestrator.participant.connection import Place as CommitPlace
from services.auditor import Audit, Violation
from services.chaos import report
from services.chaos.faults import Faults
from services.chaos.network import ALL_AT_ONCE, LINKS
from services.chaos.options import Options, parse
from services.chaos.progress import Standing
from services.chaos.report import Done, Run
from services.chaos.schedule import BETWEEN_S, BY_NAME, COMMITS, FIRST_AT_S, INSIDE, KINDS, Fault, schedule
from tests.unit.test_failpoints import names_in_the_code

LEDGERS = {
    "captured_cents": 3000,
    "refunded_cents": 1000,
    "owed_cents": 2000,
    "booked_by_payments": "20.00",
    "things_off_the_shelves": 4,
    "things_sold": 4,
    "shipments": 2,
    "events_consumed": 3,
    "placed": 3,
    "double_attempts": 1,
}
KILL = Done(Fault(5.0, "kill", "stock", 0.5), 5.0, 0.6, 0.31, 2.5, "a remark")
GOOD = Run(Options(7), [KILL], 60.0, 3, 2, {"success": 2, "out_of_stock": 1}, Audit([], LEDGERS))


def test_the_same_seed_gives_the_same_schedule() -> None:
    assert schedule(7, 600) == schedule(7, 600)
    assert schedule(7, 600) != schedule(8, 600)
    assert schedule(7, 120) == schedule(7, 600)[: len(schedule(7, 120))]


@pytest.mark.parametrize("seed", range(20))
def test_each_kind_comes_before_any_comes_again_and_each_of_its_targets_too(seed: int) -> None:
    faults = schedule(seed, 3_600)
    for n in range(0, len(faults) - len(KINDS), len(KINDS)):
        assert {fault.kind for fault in faults[n : n + len(KINDS)]} == set(BY_NAME)
    for kind in KINDS:
        targets = Counter(fault.target for fault in faults if fault.kind == kind.name)
        assert set(targets) <= set(kind.targets)
        assert max(targets.values()) - min(targets[target] for target in kind.targets) <= 1


def test_faults_keep_their_distance_and_their_duration_and_fit_in_the_time() -> None:
    faults = schedule(3, 600)
    assert faults[0].at_s == FIRST_AT_S
    for fault, after in pairwise(faults):
        assert after.at_s >= fault.at_s + fault.duration_s + BETWEEN_S - 0.11  # both are rounded
    assert all(BY_NAME[f.kind].shortest_s <= f.duration_s <= BY_NAME[f.kind].longest_s for f in faults)
    assert faults[-1].at_s + faults[-1].duration_s + BETWEEN_S <= 600.1


def test_nothing_fits_in_no_time_and_without_a_kind_there_is_nothing() -> None:
    assert schedule(1, FIRST_AT_S) == []
    assert schedule(1, 600, ()) == []


def test_links_that_are_broken_exist() -> None:
    for kind in ("cut", "swallow", "slow"):
        for target in BY_NAME[kind].targets:
            assert set(ALL_AT_ONCE.get(target, (target,))) <= set(LINKS)
        assert set(BY_NAME[kind].targets) == {*LINKS, *ALL_AT_ONCE}


def test_the_failpoints_exist() -> None:
    known = set(names_in_the_code()) | {f"participant.{place}" for place in get_args(CommitPlace)}
    known |= {"participant.call.before", "participant.call.after"}
    assert {target.partition(" at ")[2] for target in INSIDE} <= known
    assert {"engine.commit.before", "engine.claim.after"} <= set(COMMITS)


def test_somebody_knows_how_to_inflict_each_kind() -> None:
    place = type("Place", (), dict.fromkeys(("running", "network", "world", "shop")))
    assert set(Faults(place)._inflictions) == set(BY_NAME)


def test_the_command_repeats_the_run() -> None:
    options = parse(["--minutes", "2", "--seed", "7", "--only", "end-sessions-on-and-on,cut"])
    assert [kind.name for kind in options.kinds] == ["end sessions on and on", "cut"]
    assert options.command() == "make chaos MINUTES=2 SEED=7 ONLY=end-sessions-on-and-on,cut"
    assert parse(["--seed", "7"]).command() == "make chaos MINUTES=10 SEED=7"
    assert parse([]).seed > 0
    with pytest.raises(SystemExit):
        parse(["--only", "earthquake"])


def test_a_good_run_says_what_was_done_to_whom_and_when() -> None:
    text = report.text(GOOD)
    assert GOOD.exit_code == 0
    assert "5.0s  kill                   stock" in text
    assert "0.31 s" in text
    assert "2.50 s  a remark" in text
    assert "3 checkouts in 60 s, 1 faults of 1 kinds" in text
    assert "No money and no stock was lost or doubled" in text
    assert text.endswith("make chaos MINUTES=10 SEED=7")
    row = GOOD.to_json()
    assert row["faults"] == [
        {
            "at_s": 5.0,
            "kind": "kill",
            "target": "stock",
            "duration_s": 0.5,
            "began_s": 5.0,
            "lasted_s": 0.6,
            "first_s": 0.31,
            "all_s": 2.5,
            "remark": "a remark",
        }
    ]
    assert (row["exit_code"], row["double_attempts"], row["repeat"]) == (0, 1, "make chaos MINUTES=10 SEED=7")


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (replace(GOOD, audit=Audit([Violation("order-1", "money", "is gone", "a book")], LEDGERS)), "1 VIOLATIONS"),
        (replace(GOOD, audit=None, failure="AFTER kill: NOT ALL MOVED", state=["shard 3: owned by None"]), "shard 3"),
        (replace(GOOD, lost=2), "2 messages lie in"),
    ],
    ids=["a violation", "somebody stood still", "lost letters"],
)
def test_a_bad_run_ends_with_1_and_says_how_to_repeat_it(bad: Run, says: str) -> None:
    text = report.text(bad)
    assert bad.exit_code == 1
    assert says in text
    assert "No money" not in text
    assert text.endswith("make chaos MINUTES=10 SEED=7")
    assert bad.to_json()["exit_code"] == 1


def test_standing_says_who() -> None:
    standing = Standing({3, 1}, {"stock"}, {"orchestrator-2"})
    assert standing
    assert str(standing) == "shards 1, 3; stock; orchestrator-2, which owns no shard"
    assert not Standing(set(), set(), set())
