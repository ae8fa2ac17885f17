"""The wheel as it would be published: two packages, the data that they read, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.slow


def test_the_wheel_holds_two_packages_and_their_data(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("amends-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        lock = archive.read("orchestrator/local/data/kafka.lock")
    assert {name.split("/")[0].split("-")[0] for name in names} == {"orchestrator", "outbox_relay", "amends"}
    assert lock == (ROOT / "compose" / "kafka.lock").read_bytes()
    for package in ("orchestrator", "outbox_relay"):
        in_repository = {str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.sql")}
        assert in_repository <= set(names)
