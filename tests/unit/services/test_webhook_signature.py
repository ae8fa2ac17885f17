"""A webhook is believed if its provider signed this body now, and for nothing less."""

import hashlib
import hmac

import pytest

from services.delivery.signature import HEADER_CHARS_MAX, TOLERANCE_S, Bad, Good, check
from services.gateway.webhooks import signed

SECRET, BODY, NOW = "whsec_test", b'{"id": "evt_1"}', 1_700_000_000


def test_what_the_provider_signs_is_believed() -> None:
    assert check(SECRET, signed(SECRET, BODY, NOW), BODY, NOW) == Good(NOW)


def test_the_scheme_is_the_one_that_stripe_made_usual() -> None:
    digest = hmac.new(SECRET.encode(), f"{NOW}.".encode() + BODY, hashlib.sha256).hexdigest()
    assert signed(SECRET, BODY, NOW) == f"t={NOW},v1={digest}"


def test_while_a_secret_is_changed_one_of_several_signatures_is_enough() -> None:
    old, new = signed("whsec_old", BODY, NOW), signed(SECRET, BODY, NOW)
    both = f"{old},{new.partition(',')[2]}"
    assert check(SECRET, both, BODY, NOW) == Good(NOW)
    assert isinstance(check(SECRET, old, BODY, NOW), Bad)


@pytest.mark.parametrize("apart_s", [-TOLERANCE_S, 0, TOLERANCE_S])
def test_clocks_may_differ_a_little(apart_s: int) -> None:
    assert check(SECRET, signed(SECRET, BODY, NOW + apart_s), BODY, NOW) == Good(NOW + apart_s)


@pytest.mark.parametrize("apart_s", [-TOLERANCE_S - 1, TOLERANCE_S + 1])
def test_an_old_one_is_refused_and_one_of_the_future_too(apart_s: int) -> None:
    assert isinstance(check(SECRET, signed(SECRET, BODY, NOW + apart_s), BODY, NOW), Bad)


def test_an_old_one_does_not_become_new_under_another_time() -> None:
    signature = signed(SECRET, BODY, NOW - 10_000).partition(",")[2]
    assert isinstance(check(SECRET, f"t={NOW},{signature}", BODY, NOW), Bad)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "v1=00",
        f"t={NOW}",
        f"t={NOW},v1=",
        f"t={NOW},v0={signed(SECRET, BODY, NOW).partition('v1=')[2]}",
        f"t=now,{signed(SECRET, BODY, NOW).partition(',')[2]}",
        f"t={NOW},t={NOW},{signed(SECRET, BODY, NOW).partition(',')[2]}",
        f"t=-{NOW},v1=é",
        "x" * (HEADER_CHARS_MAX + 1),
        signed("another secret", BODY, NOW),
        signed(SECRET, BODY + b" ", NOW),
        signed(SECRET, BODY, NOW)[:-1],
    ],
)
def test_anything_else_is_not_believed(header: str | None) -> None:
    assert isinstance(check(SECRET, header, BODY, NOW), Bad)
