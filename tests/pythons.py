"""The core's tests on the other Python versions that are promised and that this machine has: `python -m tests.pythons`.

Each gets a virtual environment with the packages of the development lock, which is one for all versions; it is kept
under var/pythons, so that only the first run fetches them. A version that is not here is said and passed over.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROMISED = ("3.11", "3.12", "3.13")  # 3.14 runs too, and is not tested
LOCK = ROOT / "requirements-dev.lock"
TESTS = "tests/unit/core"
FOLDER = ROOT / "var" / "pythons"


def main() -> int:
    """The exit code of the first version that failed; all are run."""
    code = 0
    for version in PROMISED:
        if version == f"{sys.version_info.major}.{sys.version_info.minor}":
            continue  # `make check` has run it.
        interpreter = next((path for path in interpreters(version) if is_version(path, version)), None)
        if interpreter is None:
            print(f"-- Python {version} is not installed here (not in the PATH, not by pyenv): not tested", flush=True)
            continue
        print(f"-- Python {version}: {TESTS} ({interpreter})", flush=True)
        command = [environment(interpreter, version), "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", TESTS]
        code = subprocess.run(command, cwd=ROOT, check=False, stdin=subprocess.DEVNULL).returncode or code
    return code


def interpreters(version: str) -> Iterator[str]:
    """Where one may be: in the PATH, or among pyenv's, whose commands in the PATH only work for the chosen one."""
    if found := shutil.which(f"python{version}"):
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted((str(path) for path in pyenv.glob(f"versions/{version}.*/bin/python")), reverse=True)


def is_version(interpreter: str, version: str) -> bool:
    """A version manager leaves commands in the PATH that only print an error: so each is asked to run something."""
    asked = [interpreter, "-c", "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False)
    return told.returncode == 0 and told.stdout.strip() == version


def environment(interpreter: str, version: str) -> str:
    """The Python of an environment with the lock's packages; it stands under its name only when it is complete."""
    place, stamp = FOLDER / version, LOCK.read_bytes()
    complete = place / "complete.lock"
    if not complete.exists() or complete.read_bytes() != stamp:
        print(f"-- Python {version}: making {place} (once; some 100 MB of packages)", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        python, uv = str(place / "bin" / "python"), shutil.which("uv")
        without_pip = [] if uv is None else ["--without-pip"]
        subprocess.run([interpreter, "-m", "venv", *without_pip, str(place)], check=True)
        pip = [python, "-m", "pip", "install", "--disable-pip-version-check"]
        install = pip if uv is None else [uv, "pip", "install", "--python", python]  # it is much quicker
        options = ["--quiet", "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK)]
        subprocess.run([*install, *options], check=True)
        complete.write_bytes(stamp)
    return str(place / "bin" / "python")


if __name__ == "__main__":
    sys.exit(main())
