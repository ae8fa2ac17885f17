"""How clients hear at once that sagas have ended: Postgres's NOTIFY, from the orchestrator that ended them.

Nothing rests on it: an announcement may be lost (a crash after the commit, a pooler in between that keeps no sessions),
so whoever waits also looks by himself now and then. It is made after the commit and outside of it, for a transaction
that notifies commits under a lock that the whole server shares. Ids are told by a hash, so that many fit into one; two
that share theirs cost a look.
"""

from collections.abc import Iterable, Iterator
from typing import LiteralString
from zlib import crc32

LISTEN: LiteralString = "LISTEN amends_ended"
NOTIFY: LiteralString = "SELECT pg_notify('amends_ended', %s)"

_PAYLOAD_TOKENS_MAX = 800  # of 8 characters and a space: a payload of NOTIFY has less than 8,000 bytes


def token(saga_id: str) -> str:
    """What a saga is called in an announcement."""
    return f"{crc32(saga_id.encode()):08x}"


def payloads(saga_ids: Iterable[str]) -> Iterator[str]:
    """All of these in as few announcements as they fit into."""
    tokens = sorted({token(saga_id) for saga_id in saga_ids})
    for first in range(0, len(tokens), _PAYLOAD_TOKENS_MAX):
        yield " ".join(tokens[first : first + _PAYLOAD_TOKENS_MAX])


def tokens(payload: str) -> list[str]:
    """What an announcement tells."""
    return payload.split()
