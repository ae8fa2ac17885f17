"""compose/bootstrap.sh on machines that are not as they should be.

The Pythons are small scripts in a PATH of the test's own; the environments are made for real, from empty locks.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "compose" / "bootstrap.sh"
TOOLS = [
    "bash",
    "cat",
    "chmod",
    "cksum",
    "cp",
    "dirname",
    "find",
    "grep",
    "mv",
    "rm",
    "sed",
    "sh",
    "touch",
    "tr",
    "uname",
    "wc",
]
SHIM = "#!/bin/sh\necho 'command exists in these versions' >&2\nexit 127\n"
REAL = f'#!/bin/sh\nexec {sys.executable} "$@"\n'
WITHOUT_ENSUREPIP = f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n'

pytestmark = pytest.mark.slow  # An environment takes ensurepip some five seconds.


class Machine:
    """A repository with nothing but the script, and a PATH with nothing but what was put there."""

    def __init__(self, root: Path) -> None:
        self.root, self.path = root / "clone", root / "bin"
        self.path.mkdir()
        for tool in TOOLS:
            (self.path / tool).symlink_to(shutil.which(tool) or tool)
        (self.root / "compose").mkdir(parents=True)
        for script in (SCRIPT, SCRIPT.with_name("launcher.sh")):
            shutil.copy(script, self.root / "compose")
        (self.root / "compose" / "kafka.lock").write_text("# nothing\n0000  a:b:1\n")
        for lock in ("requirements.lock", "requirements-dev.lock"):
            (self.root / lock).write_text("# nothing\n")

    def program(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)
        (self.path / name).chmod(0o755)

    def run(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        env = {
            "PATH": str(self.path),
            "HOME": str(self.root),
            **environment,
        }
        command = [str(self.path / "bash"), str(self.root / "compose" / "bootstrap.sh"), *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_newest_python_that_really_runs_is_chosen_and_a_second_run_fetches_nothing(machine: Machine) -> None:
    machine.program("python3.14", SHIM)
    machine.program("python3.12", REAL)
    machine.program("python3.11", SHIM)
    answer = machine.run("demo", "-c", "import sys; print(sys.prefix)")
    assert answer.returncode == 0, answer.stderr
    first, *_, last = answer.stdout.splitlines()
    jars = machine.root / ".cache" / "amends" / "jars"
    assert first == f"Amends fetches 96 MB of Python packages into .venv, 45 MB of Kafka's jars into {jars}."
    assert "(python3.12)" in answer.stdout
    assert Path(last) == machine.root / ".venv"
    jars.mkdir(parents=True)
    (jars / "a-b-1.jar").touch()
    assert machine.run("demo", "-c", "").stdout == "Amends: nothing to fetch.\n"


def test_an_interrupted_run_needs_no_cleaning(machine: Machine) -> None:
    machine.program("python3", REAL)
    broken = machine.root / ".venv.partial.999999"
    (broken / "bin").mkdir(parents=True)
    (machine.root / ".venv").mkdir()  # As an older version, or a person, may have left it.
    assert machine.run("demo", "-c", "").returncode == 0
    assert not broken.exists()
    assert (machine.root / ".venv" / "bin" / "amends").exists()


def test_a_changed_lock_makes_a_new_environment(machine: Machine) -> None:
    machine.program("python3", REAL)
    machine.run("demo")
    (machine.root / ".venv" / "old").touch()
    (machine.root / "requirements.lock").write_text("# another\n")
    assert machine.run("demo").returncode == 0
    assert not (machine.root / ".venv" / "old").exists()


def test_an_old_launcher_is_replaced(machine: Machine) -> None:
    machine.program("python3", REAL)
    machine.run("demo")
    amends = machine.root / ".venv" / "bin" / "amends"
    amends.write_text("#!/bin/sh\n")
    assert machine.run("demo").returncode == 0
    assert amends.read_text() == (machine.root / "compose" / "launcher.sh").read_text()


def test_the_package_of_ensurepip_is_named(machine: Machine) -> None:
    machine.program("python3.11", WITHOUT_ENSUREPIP)
    answer = machine.run("demo", "-c", "")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert answer.returncode == 1
    assert f"apt-get install python{version}-venv" in answer.stderr
    assert not (machine.root / ".venv").exists()


def test_without_any_python_it_says_what_to_install(machine: Machine) -> None:
    machine.program("python3", SHIM)
    answer = machine.run("demo", "-c", "")
    assert answer.returncode == 1
    assert "Amends needs Python 3.11, 3.12, 3.13 or 3.14, and none of them runs here." in answer.stderr


def test_given_servers_need_no_jars(machine: Machine) -> None:
    machine.program("python3", SHIM)
    answer = machine.run("demo", "-c", "", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9092")
    assert answer.stdout == "Amends fetches 96 MB of Python packages into .venv.\n"
