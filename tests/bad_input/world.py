"""One shard and one partition for everybody: whoever held up his neighbours would hold them all up."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from uuid import uuid4

from confluent_kafka import Consumer, Producer, TopicPartition

from orchestrator import SyncClient
from orchestrator.client.requests import shard_of
from orchestrator.messaging.kafka import _read
from orchestrator.messaging.nonce import nonce_of
from orchestrator.messaging.topics import Topics
from outbox_relay.rows import Row
from tests.bad_input.program import neighbour, quiet
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import System


@dataclass(slots=True)
class World:
    system: System
    client: SyncClient
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def neighbours_go_on(self, seconds: float = 30) -> None:
        """A saga of the same shard begins, pays and ends."""
        n = next(self._numbers)
        assert self.client.run(neighbour, n, id=f"neighbour-{n}", timeout=deadline(seconds)) == n
        assert self.paid(f"neighbour-{n}") == n

    def others_go_on(self, shard: int | None = None, seconds: float = 30) -> None:
        """A saga that needs no participant begins, sleeps and ends: in this shard, if there are several."""
        ids = (f"quiet-{next(self._numbers)}" for _ in count())
        shards = self.system.rows("SELECT shards FROM amends.installation")[0][0]
        saga_id = next(i for i in ids if shard is None or shard_of(i, shards) == shard)
        assert self.client.run(quiet, 0.01, id=saga_id, timeout=deadline(seconds)) == "awake"

    @property
    def topics(self) -> Topics:
        return Topics(self.system.settings.topic_prefix)

    def paid(self, account: str) -> int:
        return int(self.system.rows("SELECT coalesce(sum(amount), 0) FROM paid WHERE account = %s", account)[0][0])

    def status(self, saga_id: str) -> str:
        return str(self.system.rows("SELECT status FROM amends.sagas WHERE id = %s", saga_id)[0][0])

    def blocked(self, saga_id: str, seconds: float = 30) -> str:
        """Wait until it is, and return why, as people see it."""
        why = "SELECT problem FROM amends.sagas WHERE id = %s AND status = 'blocked'"
        return str(eventually(lambda: self.system.rows(why, saga_id), seconds, f"{saga_id} is blocked")[0][0])

    def uid(self, saga_id: str) -> str:
        asked = "SELECT uid::text FROM amends.sagas WHERE id = %s"
        return str(eventually(lambda: self.system.rows(asked, saga_id), 30, f"{saga_id} is there")[0][0])

    def turns(self, saga_id: str) -> int:
        asked = "SELECT count(*) FROM amends.journal JOIN amends.sagas USING (saga_no) WHERE id = %s"
        return int(self.system.rows(asked, saga_id)[0][0])

    def nonce(self, key: str) -> str:
        """The genuine one: what is forged otherwise shall not be refused for this."""
        return nonce_of(self.system.rows("SELECT nonce_secret FROM amends.installation")[0][0], key)

    def ignored(self) -> dict[str, int]:
        return dict(self.system.rows("SELECT reason, count FROM amends.ignored"))

    def letters(self) -> dict[int, tuple[str, bytes]]:
        """Offset -> why nobody could take it, and its bytes."""
        rows = self.system.rows('SELECT "offset", error, payload FROM amends.dead_letters')
        return {offset: (error, bytes(payload or b"")) for offset, error, payload in rows}

    def eventually(self, ask: Callable[[], object], what: str, seconds: float = 30) -> None:
        eventually(ask, seconds, what)


def headers_of(row: Row, **other: bytes | None) -> list[tuple[str, bytes]]:
    """As the relay sends them; `other` are put in their place, None leaves one out."""
    found = {"id": (row.id or str(uuid4())).encode(), "type": row.type.encode()}
    found |= {name: str(value).encode() for name, value in row.headers.items() if value is not None}
    return [(name, value) for name, value in (found | other).items() if value is not None]


def produce(world: World, topic: str, payload: bytes | None, headers: list[tuple[str, bytes]]) -> int:
    """Straight into the only partition, as anybody who may write to the topic can; its offset."""
    servers = world.system.settings.kafka_bootstrap_servers
    producer = Producer({"bootstrap.servers": servers, "message.max.bytes": 2_000_000})
    offsets: list[int] = []

    def sent(error, message):
        assert error is None, error
        offsets.append(message.offset())

    producer.produce(topic, payload, b"anybody", 0, headers=headers, on_delivery=sent)
    assert producer.flush(30) == 0
    return offsets[0]


def all_in(world: World, topic: str) -> list:
    """Every message of the topic's only partition, as an orchestrator reads it."""
    consumer = Consumer(
        {"bootstrap.servers": world.system.settings.kafka_bootstrap_servers, "group.id": str(uuid4()),
         "enable.auto.commit": False}
    )  # fmt: skip
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
        consumer.assign([TopicPartition(topic, 0, low)])
        found: list = []
        eventually(
            lambda: found.extend(consumer.consume(1000, 0.1)) or (found and found[-1].offset() >= high - 1),
            30,
            "the topic's end",
        )
        return [_read(message) for message in found if message.error() is None]
    finally:
        consumer.close()
