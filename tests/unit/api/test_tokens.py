"""Tokens are known by their hash alone; a name in the audit is one name."""

import hashlib

import pytest

from orchestrator.api import limits
from orchestrator.api.tokens import Caller, Token, caller_with, line_of, make_token, parse_tokens
from orchestrator.errors import DependencyError

SHA = "0" * 64


def test_a_token_that_was_made_is_known() -> None:
    ada, told = make_token("ada", "operate")
    bob, other = make_token("bob", "read")
    tokens = parse_tokens(f"{line_of(told)}\n {line_of(other)},")
    assert tokens == (told, other)
    assert caller_with(ada, tokens) == Caller("ada", "operate")
    assert caller_with(bob, tokens) == Caller("bob", "read")
    assert caller_with(f"{ada}x", tokens) is None
    assert caller_with("", tokens) is None
    assert caller_with("\udcff", tokens) is None


def test_the_server_is_told_of_a_hash_only() -> None:
    text, told = make_token("ada", "read")
    assert text not in line_of(told)
    assert told.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert len(text) < limits.TOKEN_CHARS_MAX


def test_no_tokens() -> None:
    assert parse_tokens(" \n") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"a/b:read:{SHA}", "is no name"),
        (f":read:{SHA}", "is no name"),
        (f"local:read:{SHA}", "is whoever needs no token"),
        (f"{'a' * 51}:read:{SHA}", "is no name"),
        (f"ada:write:{SHA}", "'write' is no role"),
        ("ada:read:secret", "NAME:ROLE:SHA256"),
        ("ada", "NAME:ROLE:SHA256"),
        (f"ada:read:{SHA} ada:operate:{SHA}", "ada is there twice"),
        (" ".join(f"t{n}:read:{SHA}" for n in range(limits.TOKENS_MAX + 1)), "the limit is 100"),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(text: str, said: str) -> None:
    with pytest.raises(DependencyError, match=said) as refused:
        parse_tokens(text)
    assert "secret" not in str(refused.value)


def test_every_token_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first match must not end it: the time would tell which it was."""
    import hmac

    compared: list[str] = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(b) or real(a, b))  # type: ignore[func-returns-value]
    text, first = make_token("a", "read")
    assert caller_with(text, [first, Token("b", "read", SHA)]) == Caller("a", "read")
    assert len(compared) == 2
