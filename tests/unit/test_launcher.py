"""`.venv/bin/amends` of a clone runs the command, from any folder, and hands on its arguments and its exit code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def launcher(tmp_path: Path) -> Path:
    """A clone with an environment whose Python is this one."""
    (tmp_path / "orchestrator").symlink_to(ROOT / "orchestrator")
    commands = tmp_path / ".venv" / "bin"
    commands.mkdir(parents=True)
    python = commands / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return Path(shutil.copy(ROOT / "compose" / "launcher.sh", commands / "amends"))


def launched(launcher: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [launcher, *arguments], env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )


def test_it_says_something(launcher: Path) -> None:
    answer = launched(launcher, "--version")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout[:1].isdigit(), answer.stdout


def test_a_wrong_command_ends_as_the_command_itself_does(launcher: Path) -> None:
    answer = launched(launcher, "sing", "two words")
    assert answer.returncode == 2
    assert "No such command 'sing'" in answer.stderr
