"""Proof that a reply answers a command of ours: only who has the command, or the secret, can make it.

The secret lives in the orchestrator's database alone. A participant echoes what came with the command.
"""

import hmac
from functools import lru_cache

_HEX_CHARS = 32  # 128 bits: nobody guesses it, and a header stays short


def nonce_of(secret: bytes, operation_key: str) -> str:
    """The nonce of a command, its undos and their answers: they share the operation's key."""
    mac = _keyed(secret).copy()
    mac.update(operation_key.encode())
    return mac.hexdigest()[:_HEX_CHARS]


@lru_cache(8)
def _keyed(secret: bytes) -> hmac.HMAC:
    return hmac.new(secret, digestmod="sha256")


def is_genuine(secret: bytes, operation_key: str, nonce: str | None) -> bool:
    """False for a reply that somebody made up."""
    return nonce is not None and hmac.compare_digest(nonce_of(secret, operation_key).encode(), nonce.encode())
