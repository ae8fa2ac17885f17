"""One participant in a process of its own: python -m tests.integration.participant.process_main NAME OPTIONS

Settings come from the environment; OPTIONS is JSON for `make_payments`, with "breaker": [name, fail_max, reset_s].
"""

import asyncio
import json
import logging
import os
import signal
import sys

from orchestrator.participant import Breaker
from orchestrator.participant.runner import Runner
from tests.integration.participant import shop
from tests.integration.participant.conftest import Settings


async def main() -> None:
    name, options = sys.argv[1], json.loads(sys.argv[2])
    if breaker := options.pop("breaker", None):
        options["breaker"] = Breaker(breaker[0], fail_max=breaker[1], reset_timeout_s=breaker[2])
    participant = shop.stock if name == "stock" else shop.make_payments(**options)
    settings = Settings(
        os.environ["DATABASE_URL"], os.environ["KAFKA_BOOTSTRAP_SERVERS"], os.environ["AMENDS_TOPIC_PREFIX"]
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    runner = Runner(participant, settings)
    task = asyncio.create_task(runner.run(stop))
    await asyncio.wait([task, asyncio.create_task(runner.started.wait())], return_when=asyncio.FIRST_COMPLETED)
    print("ready", flush=True)
    await task


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {os.getpid()} %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(main())
