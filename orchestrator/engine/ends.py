"""Where the shards' partitions end, asked of Kafka on a thread of its own.

Rule 9 needs an end that was observed after a timer fell due. The topic's id is looked at in the same breath: made
anew, the topic would skip messages silently for ever.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator import limits
from orchestrator.engine.topology import Topology
from orchestrator.errors import AmendsError
from outbox_relay.kafka_log import sparing_logger

log = sparing_logger("orchestrator.engine.ends")  # asked many times a second, it fails as often

ASK_ANYWAY_S = 2.0  # who holds no shard asks nothing, and still has to know whether Kafka answers


@dataclass(frozen=True, slots=True)
class EndOffset:
    """Asked at `asked_us`, before Kafka looked, the partition ended at `end_offset`."""

    shard: int
    asked_us: int
    end_offset: int
    topic_id: str


class Ends:
    """`ask` from the main loop; the answers lie in `news`. While Kafka does not answer, timers wait.

    `latest` and `answered_s` (monotonic; 0: never) are for people, from any thread.
    """

    def __init__(self, topology: Topology, *, wake: Callable[[], None], now_us: Callable[[], int]) -> None:
        self._topology, self._wake, self._now_us = topology, wake, now_us
        self._asked: queue.SimpleQueue[list[int] | None] = queue.SimpleQueue()
        self._news: deque[EndOffset] = deque()
        self.latest: dict[int, EndOffset] = {}
        self.answered_s = 0.0
        self._thread = threading.Thread(target=self._run, name="amends-ends", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._asked.put(None)
        self._thread.join(limits.LEASE_S)

    def ask(self, shards: list[int]) -> None:
        self._asked.put(shards)

    def news(self) -> list[EndOffset]:
        return [self._news.popleft() for _ in range(len(self._news))]

    def _all_asked(self) -> list[int] | None:
        """All that was asked while Kafka was silent is one question, without shards if nobody asks. None: stop."""
        shards: set[int] = set()
        while not shards or not self._asked.empty():
            try:
                asked = self._asked.get(timeout=ASK_ANYWAY_S)
            except queue.Empty:
                break
            if asked is None:
                return None
            shards.update(asked)
        return sorted(shards)

    def _run(self) -> None:
        while (shards := self._all_asked()) is not None:
            asked_us = self._now_us()
            try:
                topic_id = self._topology.sagas_topic_id()
                ends = self._topology.ends(shards)
            except AmendsError as error:
                log.warning("Kafka does not say where the shards end (%s): their timers wait", error)
                continue
            self.answered_s = time.monotonic()
            found = {shard: EndOffset(shard, asked_us, end, topic_id) for shard, end in ends.items()}
            self.latest |= found
            if found:
                self._news.extend(found.values())
                self._wake()
