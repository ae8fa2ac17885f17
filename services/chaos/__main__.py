"""Run it. Exit code 0: all moved again each time, and nothing is lost or doubled; 1: something is; 2: it broke."""

import asyncio
import logging
import sys

from services.chaos import report
from services.chaos.options import Options, parse
from services.chaos.run import Chaos
from services.chaos.shop import opened
from services.interruptible import interruptible


async def chaos(options: Options) -> int:
    """The whole of it, from starting the servers to taking them down; return the exit code."""
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # the shoppers' pool tells of each vain connect
    say(f"seed {options.seed}, {len(options.faults())} faults; to repeat: {options.command()}")
    async with opened(options, say) as place:
        run = await Chaos(options, place).run()
        report.write(run, place.world.report_path)
        print(f"\n{report.text(run)}", flush=True)
    return run.exit_code


def say(line: str) -> None:
    """Before the run, and after it."""
    print(line, flush=True)


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    hint = f". To do the same again: {options.command()}"
    sys.exit(asyncio.run(interruptible(chaos(options), "the run", hint)))
