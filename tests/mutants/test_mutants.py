"""Every planted bug that needs no servers turns a test of its rule red (the others: `make mutants`)."""

from collections.abc import Iterator

import pytest

from tests.mutants.__main__ import ALL
from tests.mutants.mutant import Mutant, MutantOutdated
from tests.mutants.pure import MUTANTS
from tests.mutants.run import OUTPUT_CHARS_MAX, Nursery, failed_test

RULES = range(1, 23)


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("mutants")) as nursery:
        nursery.control(MUTANTS)
        yield nursery


def test_every_rule_has_one_and_each_still_fits_the_code() -> None:
    assert {mutant.rule for mutant in ALL} == set(RULES)
    assert len({str(mutant) for mutant in ALL}) == len(ALL)
    for mutant in ALL:
        mutant.applied()


def test_one_that_the_code_has_moved_away_from_says_which() -> None:
    outdated = Mutant(8, "gone", "orchestrator/core/ids.py", "no such text", "")
    with pytest.raises(MutantOutdated, match=r"rule_08_gone: .* stands 0 times in orchestrator/core/ids.py"):
        outdated.applied()


def test_a_test_is_known_as_failed_however_much_pytest_says_after_its_name() -> None:
    said = f"FAILED tests/rules/test_rule_17.py::test_order - AssertionError: [\n{'t1,' * OUTPUT_CHARS_MAX}\n]\n"
    assert failed_test(said) == "test_order"


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_it_is_found(nursery: Nursery, mutant: Mutant) -> None:
    find = nursery.find(mutant)
    assert find.killed_by, f"nothing in tests/rules holds rule {mutant.rule} there:\n{find.output}"
