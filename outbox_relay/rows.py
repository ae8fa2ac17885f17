"""An outbox row, and which column becomes which header.

The table is the one that Debezium's outbox event router reads, so our relay writes the same bytes as the router would:
every header is text, and the partition is always given. A NULL column is a header with a null value there, and no
header here, which says the same and costs nobody anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeAlias

KEYS_CACHED_MAX = 16_384  # a saga's id is hashed for each of its messages, at 15 us for 36 characters

# Columns that travel as headers of their own name, in this order, after `id`, `type` and `seq`.
HEADER_COLUMNS = (
    "kind",  # command, undo, settled, start, message, reply, undone, child_ended, child_undo, child_settle, event
    "saga_id",  # the author's id of the saga that this is about
    "operation_key",  # saga_uid:run:seq
    "attempt",  # decimal, from 1
    "reply_to",  # topic/partition that the answer goes to
    "outcome",  # reply: succeeded, failed, retry, conflict; undone: undone, failed, retry; undo: done, unknown
    "nonce",  # proof that the reply answers a command of ours; echoed
    "expires_at",  # ISO 8601 in UTC: not begun after this
    "channel",
    "traceparent",  # W3C Trace Context
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What an application adds: it leaves if, and only if, its transaction commits.

    `headers` may name the columns in HEADER_COLUMNS only, because each is a column that Debezium can place as a header.
    `partition` None: murmur2 of the key over the partitions of the topic, as Kafka's own default partitioner.
    """

    topic: str
    key: str
    type: str
    payload: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    partition: int | None = None
    id: str | None = None  # a uuid; None: a random one. Receivers of events and messages know doubles by it


class Publishable(Protocol):
    """An `orchestrator.Event` is one; so is any class of yours with this method.

    Where it would block, a second method `__outbox_wait__` may return what to call first, or None: on an async
    connection that is called beside the event loop.
    """

    def __outbox__(self) -> Row: ...


class StoredRow(NamedTuple):
    """A row as the relay reads it, from the table or from the stream. `columns`: the values of HEADER_COLUMNS, as text
    in UTF-8, like `id` and `type`: Kafka gets them as they are.

    A NamedTuple, for there is one a message: a frozen dataclass of as many fields takes four times as long to make.
    """

    seq: int
    id: bytes
    topic: str
    partition: int
    key: str
    type: bytes
    payload: bytes | None
    timestamp_ms: int
    columns: Sequence[bytes | None]


Headers: TypeAlias = list[tuple[str, str | bytes | None]]  # as the client wants them; here all are bytes


def kafka_headers(seq: int, id: bytes, type: bytes, columns: Sequence[bytes | None]) -> Headers:
    """The headers of a row, all text in UTF-8. `columns`: the values of HEADER_COLUMNS; what is NULL has no header.

    Made when the row is sent: kept with each that waits, the pairs cost the garbage collector 4 us a row.
    """
    own: Headers = [("id", id), ("type", type), ("seq", b"%d" % seq)]
    named = zip(HEADER_COLUMNS, columns)  # noqa: B905  (there are as many; to say `strict` costs a third of all this)
    return own + [(name, text) for name, text in named if text is not None]


@lru_cache(maxsize=KEYS_CACHED_MAX)
def murmur2(key: bytes) -> int:
    """Kafka's hash of a key, made positive: `murmur2(key) % partitions` is where its Java clients put the key."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    length = len(key)
    h = 0x9747B28C ^ length
    for i in range(0, length - length % 4, 4):
        k = int.from_bytes(key[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    tail = key[length - length % 4 :]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7FFFFFFF
