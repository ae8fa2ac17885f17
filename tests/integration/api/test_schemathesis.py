"""The API says of itself what it takes and answers; schemathesis sends what fits that and what does not, and checks.

As a program of its own, against `amends api` on real Postgres; each run sends the same. Every check is on: no server
error, statuses, media types, headers and bodies as documented, no token ignored, what fits accepted, what does not
refused. A NUL is left out: in the middle of any JSON no schema can forbid it, and it is refused.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.api.tokens import line_of, make_token
from tests.deadlines import deadline
from tests.integration.api.test_process import serving
from tests.unit.api.reference import PAGE

CONFIG = Path(__file__).with_name("schemathesis.toml")
EXAMPLES_MAX = 20  # an operation
RUN_S = 240
STREAMS = 2  # have no end, and are left out


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_what_it_says_of_itself_is_true(database_url: str, tmp_path: Path) -> None:
    text, told = make_token("ada", "operate")
    with serving(database_url, AMENDS_API_TOKENS=line_of(told)) as base:
        command = [
            sys.executable, "-m", "schemathesis.cli", f"--config-file={CONFIG}", "run", str(PAGE), f"--url={base}",
            f"--header=Authorization: Bearer {text}", "--checks=all", f"--max-examples={EXAMPLES_MAX}",
            "--generation-deterministic", "--workers=1", f"--request-timeout={deadline(10)}",
            "--rate-limit=45/s", "--generation-allow-x00=false", "--continue-on-failure", "--no-color",
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=deadline(RUN_S), check=False
        )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    tested = re.search(r"Tested:\s+(\d+)", done.stdout)
    assert tested, done.stdout[-5_000:]
    assert int(tested[1]) == PAGE.read_text().count('"operationId"') - STREAMS
