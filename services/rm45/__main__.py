"""Run it. Exit code 0: proved; 1: a protection did not hold; 3: the run proved nothing; 2: it broke."""

import asyncio
import sys
import time

from pydantic import SecretStr

from orchestrator import Client
from orchestrator.local.stack import up
from orchestrator.settings import Settings
from services.interruptible import interruptible
from services.rm45 import plot, report
from services.rm45.experiment import Experiment
from services.rm45.options import Options, parse
from services.rm45.report import Report
from services.rm45.runs import STORM, TRICKLE
from services.rm45.stage import opened


async def rm45(options: Options) -> int:
    """The whole of it, from starting the stack to taking it down; return the exit code."""
    began_s = time.monotonic()
    running = await up(options.var, progress=say)
    try:
        async with opened(running, options) as (world, shop):
            say(f"the gateway's book is {world.gateway_book}")
            settings = Settings(database_url=SecretStr(world.urls["orchestrator"]), topic_prefix=world.topic_prefix)
            async with Client(settings) as client:
                rows = await Experiment(options, world, shop, client, say).run()
        told = Report(options, rows, time.monotonic() - began_s)
        report.write(told, world.report_path)
        picture = options.folder / "storm.svg"
        picture.write_text(plot.draw(told.row(STORM).sums, told.row(TRICKLE).sums))
        say(f"\n{report.text(told)}\n\n{told.seconds:.0f} s; {world.report_path}, {picture}")
        return told.exit_code
    finally:
        await running.down()


def say(line: str) -> None:
    """For people, terminal or not."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(interruptible(rm45(parse(sys.argv[1:])), "the experiment")))
