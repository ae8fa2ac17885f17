"""How long it takes to have a saga of 1,000 entries back in memory: from its journal to a coroutine that waits."""

import statistics
import time

from orchestrator import Saga, saga
from orchestrator.core.decisions import Turn
from orchestrator.core.entries import Entry, Started, StepEnded
from orchestrator.core.ids import SagaIdentity
from orchestrator.core.replay import journal_body, replay
from orchestrator.core.turn import LiveSaga
from orchestrator.engine.journal import dumps, loads
from tests.bench.installation import Installation
from tests.bench.program import PATIENCE, PAYLOAD, forget, think

ENTRIES = 1_000
TIMES = 9
SECOND_US = 1_000_000


@saga(name="bench-long")
async def long(s: Saga, note: str) -> str:
    while True:
        note = await s.step(think, note, undo=forget, timeout=PATIENCE)


def replay_thousand(_: Installation) -> dict[str, float]:
    """The pure core alone: no database has a part in it."""
    identity = SagaIdentity("long-1", "0f3a", long.name, long.version, 0)
    texts = recorded(identity)
    taken_ms = []
    for _ in range(TIMES):
        began_s = time.perf_counter()
        live = replay(long, identity, [loads(text) for text in texts])
        taken_ms.append((time.perf_counter() - began_s) * 1_000)
        assert live.position == ENTRIES
        live.evict()
    return {"replay_1000_ms": statistics.median(taken_ms)}


def recorded(identity: SagaIdentity) -> list[str]:
    """A journal of 1,000 turns: a start, and the end of each step."""
    live, texts = LiveSaga(long, identity), []
    for n in range(ENTRIES):
        at_us = (1_000 + n) * SECOND_US
        entry: Entry = (
            StepEnded(at_us=at_us, seq=n - 1, attempt=1, outcome="succeeded", body=PAYLOAD)
            if n
            else Started(at_us=at_us, input=PAYLOAD)
        )
        turn = live.feed(entry)
        assert isinstance(turn, Turn), turn
        texts.append(dumps(journal_body(entry, turn)))
    live.evict()
    return texts
