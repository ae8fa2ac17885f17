"""The tutorial does what it says: its files are written, its commands typed, and their output compared."""

from tests.docs.pages import ROOT, File, Step, script
from tests.docs.shell import Shell

PAGE = ROOT / "docs" / "tutorial.md"


def test_the_tutorial_prints_what_it_promises(shell: Shell) -> None:
    parts = list(script(PAGE))
    typed = [part.command for part in parts if isinstance(part, Step)]
    assert any(isinstance(part, File) for part in parts)
    assert any(command.startswith("kill -9") for command in typed)
    assert any(command.startswith("amends trace") for command in typed)
    for part in parts:
        shell.follow(part)
