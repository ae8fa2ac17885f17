"""Run the local stack by itself.

python -m orchestrator.local up   --var var     start it and leave it running in the background
python -m orchestrator.local down --var var     end it
python -m orchestrator.local keep --var var     start it and keep it in the foreground, until Ctrl-C
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import LocalStackError
from orchestrator.local.background import down, keep, up_in_background


def main(argv: Sequence[str] | None = None) -> None:
    """Run one of the three verbs; exit with 1 and one message if it fails."""
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.local", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("up", "down", "keep"))
    parser.add_argument("--var", type=Path, default=Path("var"), help="the stack's directory (default: var)")
    parser.add_argument("--watch", type=int, metavar="PID", help="end the stack when this process has ended")
    parser.add_argument(
        "--with", action="append", dest="services", default=[], metavar="NAME", help="a further service of compose.yaml"
    )
    arguments = parser.parse_args(argv)
    try:
        _run(arguments.verb, arguments.var, arguments.watch, arguments.services)
    except LocalStackError as error:
        sys.exit(str(error))


def _run(verb: str, var: Path, watched_pid: int | None, services: Sequence[str]) -> None:
    match verb:
        case "keep":
            keep(var, watched_pid, services)
        case "up":
            stack = up_in_background(
                var,
                progress=lambda line: print(line, file=sys.stderr),
                watched_pid=watched_pid,
                services=services,
            )
            for name, value in stack.environment().items():
                print(f"export {name}={value}")
        case _:
            print("The stack is down." if down(var) else "Nothing was running.", file=sys.stderr)


if __name__ == "__main__":
    main()
