"""Has a shard been read up to where its topic ended after a timer fell due? (Rule 9: messages before timers.)

The end offset is asked for after the fact, so lag can't starve timers: the target is one snapshot, and it is reached.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

ASK_EVERY_S = 0.02
# Of a shard for which no timer waits: the topic's id comes with the answer, and one that was made anew and has outgrown
# our offset skips messages silently, for ever.
ASK_ANYWAY_S = 1.0


@dataclass(slots=True)
class _Shard:
    observed_us: int = -1  # the time of the look whose end offset we have reached
    asked_us: int = -1
    target: int | None = None  # the end offset of the look that is still to be reached
    target_us: int = -1


@dataclass(slots=True)
class Watermarks:
    """Pure bookkeeping: who asks Kafka is the intake."""

    _shards: dict[int, _Shard] = field(default_factory=dict)

    def forget(self, shard: int) -> None:
        """The shard was lost or claimed anew."""
        self._shards.pop(shard, None)

    def observed(self, shard: int, end_offset: int, at_us: int) -> None:
        """Kafka said at `at_us` (taken before the question) that the partition ends at `end_offset`."""
        state = self._shards.setdefault(shard, _Shard())
        if state.target is None:  # else the one before is still to be reached: a moving target could starve timers
            state.target, state.target_us = end_offset, at_us

    def reached(self, shard: int, next_offset: int) -> None:
        """All before `next_offset` has been taken into batches."""
        state = self._shards.get(shard)
        if state is not None and state.target is not None and next_offset >= state.target:
            state.observed_us, state.target = max(state.observed_us, state.target_us), None

    def lets_in(self, shard: int, due_us: int) -> bool:
        """Whether a timer that fell due at `due_us` may enter a batch."""
        state = self._shards.get(shard)
        return state is not None and state.observed_us >= due_us

    def to_ask(self, waiting: set[int], now_us: int, held: Iterable[int] = ()) -> list[int]:
        """Shards whose end offset must be looked at again: at most every ASK_EVERY_S where timers wait for it, and at
        least every ASK_ANYWAY_S where the shard is `held`.
        """
        asked = []
        for shard in sorted({*waiting, *held}):
            state = self._shards.setdefault(shard, _Shard())
            if now_us - state.asked_us >= (ASK_EVERY_S if shard in waiting else ASK_ANYWAY_S) * 1e6:
                state.asked_us = now_us
                asked.append(shard)
        return asked
