"""Run it. Exit code 0: all moved again each time, and nothing is lost or doubled; 1: something is; 2: it broke."""

import asyncio
import logging
import sys
import traceback

from orchestrator.errors import AmendsError
from orchestrator.local.keeper import on_stop_signals
from services.chaos import report
from services.chaos.options import Options, parse
from services.chaos.run import Chaos
from services.chaos.shop import opened

EXIT_BROKEN, EXIT_INTERRUPTED = 2, 130


async def chaos(options: Options) -> int:
    """The whole of it, from starting the servers to taking them down; return the exit code."""
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # the shoppers' pool tells of each vain connect
    say(f"seed {options.seed}, {len(options.faults())} faults; to repeat: {options.command()}")
    async with opened(options, say) as place:
        run = await Chaos(options, place).run()
        report.write(run, place.world.report_path)
        print(f"\n{report.text(run)}", flush=True)
    return run.exit_code


async def interruptible(options: Options) -> int:
    """The run as a task that Ctrl-C cancels, so that its children are ended in order."""
    task = asyncio.create_task(chaos(options))
    on_stop_signals(asyncio.get_running_loop(), lambda: stop(task))
    try:
        return await task
    except asyncio.CancelledError:
        say(f"stopped; nothing is left running. To do the same again: {options.command()}")
        return EXIT_INTERRUPTED
    except (AmendsError, RuntimeError) as error:
        say(f"the run broke off: {error}. To do the same again: {options.command()}")
        return EXIT_BROKEN
    except Exception:
        # Python's own exit code for this is 1, which here says that something was lost.
        traceback.print_exc()
        return EXIT_BROKEN


def stop(task: "asyncio.Task[int]") -> None:
    task.cancel()


def say(line: str) -> None:
    """Before the run, and after it."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(interruptible(parse(sys.argv[1:]))))
