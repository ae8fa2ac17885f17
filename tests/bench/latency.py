"""One saga at a time, as a client sees it: from the call to `run` to its result."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from orchestrator import Client
from tests.bench.installation import Installation
from tests.bench.program import PAYLOAD, local, remote

SERIES = 200
WARM = 20


def local_latency(place: Installation) -> dict[str, float]:
    """Five local steps."""
    place.relay()
    place.orchestrator()
    median, late = asyncio.run(one_at_a_time(place, lambda client, name: client.run(local, PAYLOAD, id=name)))
    return {"local_p50_ms": median, "local_p99_ms": late}


def remote_latency(place: Installation) -> dict[str, float]:
    """Three commands and their replies."""
    place.relay()
    place.participant()
    place.orchestrator()
    median, late = asyncio.run(one_at_a_time(place, lambda client, name: client.run(remote, PAYLOAD, id=name)))
    return {"remote_p50_ms": median, "remote_p99_ms": late}


async def one_at_a_time(
    place: Installation, run: Callable[[Client, str], Coroutine[Any, Any, object]]
) -> tuple[float, float]:
    """The median and the 99th percentile, in ms."""
    async with Client(place.settings) as client:
        taken_ms = []
        for n in range(WARM + SERIES):
            began_s = time.perf_counter()
            await run(client, f"s{n}")
            taken_ms.append((time.perf_counter() - began_s) * 1_000)
    series = sorted(taken_ms[WARM:])
    return series[len(series) // 2], series[len(series) * 99 // 100]
