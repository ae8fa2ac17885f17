"""One bash in which a page's commands are typed one after the other, and what it printed for each.

What is put into the background with `&` prints into a file; the next command waits until an `amends dev` is up.
Whatever still runs at the end is killed.
"""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from orchestrator.local.postgres import installed
from tests.deadlines import deadline, eventually
from tests.docs.pages import ROOT

COMMAND_S, DEV_S = 60.0, 60.0
END = "-- that was all --"
UP = "Ctrl-C ends it"  # the last word of `amends dev` before it works
KILLED = re.compile(r"^\w+: line \d+: +\d+ Killed\b")  # it says so before whatever command comes next; `$?` is sure
PROGRAMS = {"amends": "-m orchestrator.cli", "python": ""}


def programs(folder: Path) -> Path:
    """A folder for PATH. Each becomes what it starts, so that a signal to a job reaches it."""
    folder.mkdir()
    for name, arguments in PROGRAMS.items():
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


class Bash:
    """A shell in `folder`, where `amends` and `python` are those of this checkout."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._jobs = 0
        path = os.pathsep.join([str(programs(folder / "bin")), str(installed() / "bin"), os.environ["PATH"]])
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def typed(self, command: str) -> list[str]:
        """Run it, and return the lines that a terminal would show."""
        if command.endswith(" &"):
            return self._in_background(command)
        # `$?` of the next command is this one's, and not that of the line that says that it is over.
        self._write(f"{{ {command}\n}} </dev/null; code=$?; echo '{END}'; (exit $code)\n")
        return self._printed(command)

    def end(self) -> None:
        """Kill what is left."""
        os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.wait()

    def _in_background(self, command: str) -> list[str]:
        self._jobs += 1
        log = self.folder / f"job-{self._jobs}.log"
        into = "" if ">" in command else f">{log.name} 2>&1"
        self._write(f"{command.removesuffix(' &')} </dev/null {into} & echo '{END}'\n")
        printed = self._printed(command)
        if "amends dev " in command:
            eventually(lambda: log.exists() and UP in log.read_text(), DEV_S, f"{command} is up; it said {log}")
        return printed

    def _printed(self, command: str) -> list[str]:
        lines: list[str] = []
        while True:
            try:
                line = self._lines.get(timeout=deadline(COMMAND_S))
            except queue.Empty:
                raise AssertionError(f"`{command}` did not end; it printed {lines}") from None
            if line == END:
                break
            if not KILLED.match(line):
                lines.append(line.replace(f"{self.folder}/", ""))
        while lines and not lines[-1]:  # psql ends a table with an empty line
            lines.pop()
        return lines

    def _write(self, text: str) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(text)
        self._bash.stdin.flush()

    def _read(self) -> None:
        assert self._bash.stdout is not None
        for line in self._bash.stdout:
            self._lines.put(line.rstrip())
