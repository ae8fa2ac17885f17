import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import DefinitionError
from orchestrator.retry import Retry


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"first_delay_s": -1},
        {"first_delay_s": math.nan},
        {"factor": 0.5},
        {"factor": math.nan},
        {"factor": 1e6},
        {"first_delay_s": 10, "max_delay_s": 5},
        {"max_delay_s": math.inf},
        {"attempt_timeout_s": 0},
        {"attempt_timeout_s": math.nan},
        {"on": ValueError},
        {"on": (BaseException,)},
        {"on": ("ValueError",)},
    ],
)
def test_what_cannot_be_meant_is_refused(wrong):
    with pytest.raises(DefinitionError, match="must"):
        Retry(**wrong)


@given(
    attempts=st.integers(1, 2**31),
    jitter=st.floats(0, 1, exclude_max=True),
    first=st.floats(0, 1e6),
    factor=st.floats(1, 100),
    more=st.floats(0, 1e6),
)
def test_a_delay_is_never_negative_nor_above_its_limit(attempts, jitter, first, factor, more):
    retry = Retry(first_delay_s=first, factor=factor, max_delay_s=first + more)
    assert 0 <= retry.delay_s(attempts, jitter) <= retry.max_delay_s


def test_delays_grow_by_the_factor_up_to_the_limit():
    retry = Retry(first_delay_s=1, factor=3, max_delay_s=20)
    assert [retry.delay_s(n, 0.5) for n in (1, 2, 3, 4, 5)] == [0.5, 1.5, 4.5, 10, 10]


def test_the_two_extremes():
    assert Retry.never.max_attempts == 1
    assert Retry.for_ever.max_attempts > 10**9
