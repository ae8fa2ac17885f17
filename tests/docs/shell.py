"""Runs what a page tells its reader to type, against this run's servers."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from tests.deadlines import deadline, eventually
from tests.docs.pages import ROOT, File, Step, agrees, appear_in_order

NOT_RUN = ("pip install 'amends[local]'", "amends up")
"""What the test has instead of it: the code of this checkout, and the servers of the run."""

LOOKS = ("show", "ls", "trace", "stuck")
"""They change nothing: asked again until the saga is as far as the page says."""

COMMAND_S, DEV_S, LOOK_S = 60.0, 60.0, 30.0


class Shell:
    """One directory, and `amends dev` running in it or not."""

    def __init__(self, folder: Path, database_url: str, kafka_bootstrap_servers: str, topic_prefix: str) -> None:
        self.folder = folder
        self.exit_code = 0
        self.dev: subprocess.Popen[bytes] | None = None
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},  # few users have it
            "DATABASE_URL": database_url,
            "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
            "AMENDS_TOPIC_PREFIX": topic_prefix,
            "PYTHONPATH": str(ROOT),
        }

    def follow(self, part: File | Step) -> None:
        """Write the file, or type the command and compare."""
        match part:
            case File(name, text):
                self.end_dev(signal.SIGINT)  # as the page says: changed code needs a new process
                (self.folder / name).write_text(text)
            case Step(command) if command in NOT_RUN:
                assert not part.printed, f"nothing is known of what `{command}` prints"
            case Step("echo $?"):
                assert part.printed == [str(self.exit_code)]
            case Step(command) if command.startswith("kill -9 "):
                self.end_dev(signal.SIGKILL)
            case Step(command) if command.startswith("amends dev "):
                self.begin_dev(part)
            case Step(command):
                self.run(part, shlex.split(command))

    def run(self, step: Step, words: list[str]) -> None:
        """Run one `amends …` and compare what it prints."""
        assert words[0] == "amends", f"the test can't run `{step.command}`"
        last: list[str] = []

        def as_promised() -> bool:
            last[:] = self.printed_by(words[1:])
            return agrees(step.printed, last)

        if words[1] not in LOOKS:
            assert as_promised(), difference(step, last)
            return
        try:
            eventually(as_promised, LOOK_S, step.command)
        except AssertionError:
            raise AssertionError(difference(step, last)) from None

    def printed_by(self, arguments: list[str]) -> list[str]:
        """Everything that a terminal would show of this command."""
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=deadline(COMMAND_S),
            check=False,
        )
        self.exit_code = done.returncode
        return done.stdout.decode().splitlines()

    def begin_dev(self, step: Step) -> None:
        """Run `amends dev` beside the rest, and wait until it has said what the page promises."""
        assert self.dev is None, "the page has not ended the one before"
        log = self.folder / "dev.log"
        with log.open("wb") as out:
            self.dev = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.cli", *shlex.split(step.command)[1:]],
                cwd=self.folder,
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        running = self.dev

        def has_said_it() -> bool:
            lines = log.read_text().splitlines()
            assert running.poll() is None, "\n".join(lines)
            return appear_in_order(step.printed, lines)

        eventually(has_said_it, DEV_S, step.command)

    def end_dev(self, number: signal.Signals) -> None:
        """End what runs, if anything does."""
        if self.dev is None:
            return
        self.dev.send_signal(number)
        try:
            self.dev.wait(deadline(COMMAND_S))
        finally:
            self.dev.kill()
            self.dev.wait()
            self.dev = None


def difference(step: Step, printed: list[str]) -> str:
    """For who has to mend the page, or the code."""
    return "\n".join([f"$ {step.command}", "-- the page says:", *step.printed, "-- it printed:", *printed])
