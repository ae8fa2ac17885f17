"""The thirty lines of the README run as it says, and survive what it says they survive."""

import re
import shlex
import signal
from itertools import pairwise

from tests.deadlines import eventually
from tests.docs.pages import FILE_NAME, ROOT, File, Step, blocks
from tests.docs.shell import Shell

PAGE = ROOT / "README.md"


def typed_after_app() -> tuple[File, list[str]]:
    """The block that begins with `# app.py`, and the commands of the block that follows it."""
    found = blocks(PAGE)
    for (language, text), (_, commands) in pairwise(found):
        if language == "python" and (name := FILE_NAME.match(text)):
            return File(name[1], text), [re.split(r"\s+#", line)[0] for line in commands.splitlines() if line]
    raise AssertionError("README.md has no app.py any more")


def test_the_thirty_lines_run_and_survive_a_kill_in_the_middle(shell: Shell) -> None:
    app, (dev, start, show) = typed_after_app()
    assert len(app.text.splitlines()) <= 30
    assert dev == "amends dev app.py"
    shell.follow(app)
    shell.begin_dev(Step(dev, ["sagas: welcome; participants: greeter; Ctrl-C ends it"]))
    assert shell.printed_by(shlex.split(start)[1:]) == ["welcome-ada", "follow it: amends watch welcome-ada"]
    shown = shlex.split(show)[1:]
    eventually(lambda: "sleep" in "\n".join(shell.printed_by(shown)), 30, "the saga sleeps")

    shell.end_dev(signal.SIGKILL)
    shell.begin_dev(Step(dev, ["sagas: welcome; participants: greeter; Ctrl-C ends it"]))

    def shows_the_end() -> bool:
        lines = [" ".join(line.split()) for line in shell.printed_by(shown)]
        return "status completed" in lines and 'result "Hello, Ada, welcome back"' in lines

    eventually(shows_the_end, 60, "the saga ends as if nothing had happened")
