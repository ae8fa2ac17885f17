"""Proof that a reply answers a command of ours: only who has the command, or the secret, can make it.

The secret lives in the orchestrator's database alone. A participant echoes what came with the command.
"""

import hmac

_HEX_CHARS = 32  # 128 bits: nobody guesses it, and a header stays short


def nonce_of(secret: bytes, operation_key: str) -> str:
    """The nonce of a command, its undos and their answers: they share the operation's key."""
    return hmac.digest(secret, operation_key.encode(), "sha256").hex()[:_HEX_CHARS]


def is_genuine(secret: bytes, operation_key: str, nonce: str | None) -> bool:
    """False for a reply that somebody made up."""
    return nonce is not None and hmac.compare_digest(nonce_of(secret, operation_key).encode(), nonce.encode())
