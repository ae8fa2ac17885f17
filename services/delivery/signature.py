"""Is this webhook the provider's, and is it fresh? Pure: the time comes in, the secret too.

The header is `t=<seconds>,v1=<hex>`, the scheme that Stripe made usual: HMAC-SHA256 over "<seconds>.<body>". The time
is signed with the body, so that nobody can send an old webhook again under a new time; and what is older than
TOLERANCE_S, or as far in the future, is refused, so that an intercepted one is of no use later. Within the tolerance
an event that comes again is known by its id (`webhook`).
"""

import hashlib
import hmac
import time
from dataclasses import dataclass

WEBHOOK_PATH = "/webhooks/payments"
SIGNATURE_HEADER = "Gateway-Signature"
TOLERANCE_S = 300
HEADER_CHARS_MAX = 1_000  # some signatures while a secret is changed, and not a megabyte to split
SIGNATURES_MAX = 8


@dataclass(frozen=True, slots=True)
class Good:
    """It is the provider's, signed at that time."""

    at_s: int


@dataclass(frozen=True, slots=True)
class Bad:
    """It is not to be believed, and why. The reason names nothing that only the provider knows."""

    why: str


def check(secret: str, header: str | None, body: bytes, now_s: float | None = None) -> Good | Bad:
    """Whether `header` signs `body`. Several `v1` are tried, as while the secret is changed."""
    if not header or len(header) > HEADER_CHARS_MAX:
        return Bad(f"send one {SIGNATURE_HEADER}: t=<seconds>,v1=<hex>")
    times, signatures = _fields(header)
    if len(times) != 1 or not signatures:
        return Bad(f"{SIGNATURE_HEADER} is not t=<seconds>,v1=<hex>")
    expected = hmac.new(secret.encode(), times[0].encode() + b"." + body, hashlib.sha256).hexdigest().encode()
    # compare_digest takes as long for a good beginning as for a bad one. All are compared, for the same reason.
    matches = [hmac.compare_digest(expected, signature) for signature in signatures]
    if not any(matches):
        return Bad("the signature is not that of this body")
    at_s = int(times[0])
    if abs((time.time() if now_s is None else now_s) - at_s) > TOLERANCE_S:
        return Bad(f"it was signed more than {TOLERANCE_S} s away from now; is one of the clocks wrong?")
    return Good(at_s)


def _fields(header: str) -> tuple[list[str], list[bytes]]:
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t" and value.isascii() and value.isdecimal()]
    signatures = [value.encode() for name, _, value in pairs if name == "v1"]
    return times, signatures[:SIGNATURES_MAX]
