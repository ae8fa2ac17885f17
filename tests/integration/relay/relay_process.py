"""A relay in a process of its own, to be killed and frozen: relay_process.py MODE NAME KAFKA DATABASE_URL ...

EXTERNAL_SLOT names the slot of the other reader in mode `external`.
"""

import asyncio
import logging
import os
import signal
import sys

from outbox_relay import Relay, Relays


async def main(mode: str, name: str, kafka: str, urls: list[str]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    slot = os.environ.get("EXTERNAL_SLOT", "amends_outbox")
    relays = [
        Relay(database_url=url, kafka_bootstrap_servers=kafka, mode=mode, name=name, external_slot=slot) for url in urls
    ]
    await Relays(relays).run(stop)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
