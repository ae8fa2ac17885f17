"""Who may do what over HTTP: names, roles, and the SHA-256 of each token. The token itself is nowhere but at its owner.

AMENDS_API_TOKENS holds them, one after the other, separated by blanks, commas or lines:

    ada:operate:3f…  dashboard:read:9c…
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from orchestrator.api import limits
from orchestrator.errors import DependencyError

Role = Literal["read", "operate"]
"""read: look. operate: also start, send and give verbs."""

LOCAL = "local"
"""Whoever is on this machine, where there are no tokens."""

_NAME = re.compile(rf"[A-Za-z0-9._@-]{{1,{limits.TOKEN_NAME_CHARS_MAX}}}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Token:
    """A token as the server knows it. `name` stands in the audit, behind the database's login."""

    name: str
    role: Role
    sha256: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request."""

    name: str
    role: Role


def parse_tokens(text: str) -> tuple[Token, ...]:
    """The setting. Raises DependencyError that names the line which is wrong, without its hash."""
    tokens = tuple(_parsed(part, number) for number, part in enumerate(re.split(r"[\s,]+", text.strip()), 1) if part)
    if len(tokens) > limits.TOKENS_MAX:
        raise DependencyError(f"AMENDS_API_TOKENS has {len(tokens)} tokens; the limit is {limits.TOKENS_MAX}")
    names = [token.name for token in tokens]
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise DependencyError(f"AMENDS_API_TOKENS: {', '.join(doubles)} is there twice; each token has its own name")
    return tokens


def make_token(name: str, role: str) -> tuple[str, Token]:
    """A new token and how the server is told of it. Raises DependencyError for a name or a role that can't be."""
    text = f"amends_{secrets.token_urlsafe(limits.TOKEN_BYTES)}"
    return text, _checked(name, role, sha256_of(text), "the token")


def line_of(token: Token) -> str:
    """As the setting has it."""
    return f"{token.name}:{token.role}:{token.sha256}"


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def caller_with(text: str, tokens: Sequence[Token]) -> Caller | None:
    """Whose token this is. Each is compared, whole, so that the time tells nothing."""
    given, found = sha256_of(text), None
    for token in tokens:
        if hmac.compare_digest(given, token.sha256):
            found = Caller(token.name, token.role)
    return found


def _parsed(part: str, number: int) -> Token:
    name, _, rest = part.partition(":")
    role, _, sha256 = rest.partition(":")
    return _checked(name, role, sha256, f"AMENDS_API_TOKENS, token {number}")


def _checked(name: str, role: str, sha256: str, what: str) -> Token:
    if not _NAME.fullmatch(name) or name == LOCAL:
        raise DependencyError(
            f"{what}: {name[:60]!r} is no name: letters, digits and . _ @ -, {limits.TOKEN_NAME_CHARS_MAX} at most; "
            f"{LOCAL!r} is whoever needs no token. Make one: amends api token NAME ROLE"
        )
    if not _SHA256.fullmatch(sha256):
        raise DependencyError(f"{what} ({name}): it is NAME:ROLE:SHA256. Make one: amends api token NAME ROLE")
    for known in get_args(Role):
        if role == known:
            return Token(name, known, sha256)
    raise DependencyError(f"{what} ({name}): {role[:60]!r} is no role; there are {', '.join(get_args(Role))}")
