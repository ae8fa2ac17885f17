import subprocess
import sys
from pathlib import Path

from tests.failures import Failure, failures, summary


def test_a_report_of_pytest_names_what_failed_and_what_could_not_be_set_up(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(
        "import pytest\n"
        "@pytest.fixture\ndef broken(): raise RuntimeError('no server')\n"
        "def test_right(): pass\n"
        "def test_wrong(): assert 1 == 2, 'the sums differ'\n"
        "def test_alone(broken): pass\n"
    )
    report = tmp_path / "report.xml"
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", str(tmp_path)]
    subprocess.run(run, check=False, stdout=subprocess.DEVNULL, cwd=tmp_path)

    told = {each.test.split("::")[1]: each for each in failures(report)}

    assert set(told) == {"test_wrong", "test_alone"}
    assert "the sums differ" in told["test_wrong"].message
    assert "no server" in told["test_alone"].trace


def test_a_run_that_left_no_report_has_no_failures_to_name(tmp_path: Path) -> None:
    assert failures(tmp_path / "none.xml") == []


def test_the_names_stand_last_a_line_each() -> None:
    failed = [Failure("a::one", "first\nsecond", "1\n2"), Failure("b::two", "x" * 1_000, "3")]

    *_, count, one, two = summary(failed).splitlines()

    assert count == "-- 2 failed"
    assert one == "a::one: first second"
    assert two.startswith("b::two: xxx")
    assert len(two) < 400
