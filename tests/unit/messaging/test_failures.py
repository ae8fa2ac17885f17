"""A Failure is a definite no, and must arrive as the same no wherever it goes."""

import copy
import pickle
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import (
    AmendsError,
    DefinitionError,
    DependencyError,
    Failure,
    OperationFailed,
    SagaFailed,
    TimedOut,
    Transient,
    UnknownFailure,
    clashing_failures,
    failure_named,
)
from orchestrator.messaging.control import ProblemRecord
from orchestrator.messaging.kafka_errors import OffsetOutOfRange
from orchestrator.problems import exception_of, problem_of


class ShelfEmpty(Failure):
    sku: str
    left: int = 0


class JustNo(Failure):
    pass


class TeaShelfEmpty(ShelfEmpty):
    kinds: list[str] = []


class CardRefused(Failure, wire_name="card_refused"):
    amount: Decimal
    at: datetime
    raw: bytes = b""


FAILURES = [
    ShelfEmpty(sku="tea", left=2),
    ShelfEmpty(sku="tea"),
    JustNo(),
    TeaShelfEmpty(sku="tea", kinds=["green", "white"]),
    CardRefused(amount=Decimal("45.00"), at=datetime(2026, 1, 2, tzinfo=UTC), raw=b"\x00\xff"),
    UnknownFailure(failure_type="NotHere", failure_fields={"a": [1]}),
]
OTHERS = [
    OperationFailed("KeyError", "'x'", "Traceback…"),
    SagaFailed("o-1", "cancelled", "Cancelled", "by Ada", left_undone=("ChargeCard",)),
    TimedOut("no answer"),
    Transient("busy", retry_after_s=2.0),
    OffsetOutOfRange("sagas", 3),
    DependencyError("no Kafka"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))])
def test_copies_are_equal_and_keep_the_facts(failure, copied):
    failure.operation_key, failure.attempts = "k:0:1", 3
    again = copied(failure)
    assert again == failure
    assert hash(again) == hash(failure)
    assert (repr(again), str(again), again.args) == (repr(failure), str(failure), failure.args)
    assert (again.operation_key, again.attempts, again.effect) == ("k:0:1", 3, "none")


@pytest.mark.parametrize("error", OTHERS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))])
def test_every_error_can_be_pickled_whatever_its_init_asks(error, copied):
    again = copied(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_comes_out_of_the_wire_as_the_same_class_and_fields(failure):
    payload = ProblemRecord(problem=problem_of(failure)).encode()
    again = exception_of(ProblemRecord.decode(payload).problem)
    assert again == failure


@given(sku=st.text(), left=st.integers(-(2**63), 2**63 - 1))
def test_any_text_and_number_survives_the_wire(sku, left):
    payload = ProblemRecord(problem=problem_of(ShelfEmpty(sku=sku, left=left))).encode()
    again = exception_of(ProblemRecord.decode(payload).problem)
    assert again == ShelfEmpty(sku=sku.replace("\x00", "\\x00"), left=left)


def test_fields_are_keywords_validated_and_frozen():
    failure = ShelfEmpty(sku="tea", left="3")
    assert failure.left == 3
    with pytest.raises(AttributeError, match=r"ShelfEmpty\.left"):
        failure.left = 4
    for wrong in ({}, {"sku": "tea", "right": 1}, {"sku": "tea", "left": "many"}):
        with pytest.raises(TypeError, match="ShelfEmpty"):
            ShelfEmpty(**wrong)
    with pytest.raises(TypeError):
        ShelfEmpty("tea")


def test_what_python_sets_on_an_exception_can_be_set():
    failure = JustNo()
    failure.add_note("seen in the test")
    with pytest.raises(JustNo) as caught:
        raise failure from ValueError("why")
    assert caught.value.__notes__ == ["seen in the test"]
    assert isinstance(caught.value.__cause__, ValueError)


def test_equality_asks_for_class_and_fields():
    assert ShelfEmpty(sku="a") == ShelfEmpty(sku="a", left=0)
    assert ShelfEmpty(sku="a") != ShelfEmpty(sku="b")
    assert ShelfEmpty(sku="a") != TeaShelfEmpty(sku="a")
    assert JustNo() != "JustNo"
    assert len({JustNo(), JustNo(), ShelfEmpty(sku="a")}) == 2


def test_repr_reads_like_the_code_that_made_it():
    assert repr(ShelfEmpty(sku="tea", left=2)) == "ShelfEmpty(sku='tea', left=2)"
    assert (repr(JustNo()), str(JustNo())) == ("JustNo()", "JustNo")


def test_found_by_its_wire_name():
    assert failure_named("card_refused") is CardRefused
    assert failure_named("TeaShelfEmpty") is TeaShelfEmpty
    assert failure_named("CardRefused") is None
    assert failure_named("UnknownFailure") is None


def test_two_places_with_one_name_are_known():
    class Twin(Failure):
        pass

    def elsewhere():
        class Twin(Failure):
            pass

    elsewhere()
    assert len(clashing_failures()["Twin"]) == 2
    assert "JustNo" not in clashing_failures()


def test_a_class_that_refuses_stored_fields_still_gives_a_definite_no():
    problem = problem_of(ShelfEmpty(sku="tea"))
    problem.fields["sku"] = 7
    again = exception_of(problem)
    assert isinstance(again, UnknownFailure)
    assert again.effect == "none"


def _taken_name():
    class Bad(Failure):
        args: str


def _runtimes_own():
    class Bad(Failure):
        attempts: int


def _no_name():
    class Bad(Failure, wire_name="a\nb"):
        pass


@pytest.mark.parametrize("declare", [_taken_name, _runtimes_own, _no_name])
def test_a_wrong_declaration_is_refused_where_it_is_written(declare):
    with pytest.raises(DefinitionError) as caught:
        declare()
    line = declare.__code__.co_firstlineno + 1
    assert f"{__file__}:{line}" in str(caught.value)


def test_a_field_of_no_json_form_is_refused():
    class Thing:
        pass

    with pytest.raises(DefinitionError, match="Bad"):

        class Bad(Failure):
            thing: Thing


def test_all_errors_have_one_base():
    assert all(isinstance(error, AmendsError) for error in [*FAILURES, *OTHERS])
