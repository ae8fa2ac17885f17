"""The browser of the tests: Debian's Chromium, or the one that AMENDS_CHROMIUM names.

Without one the tests are skipped with a reason, but where CI=true they fail: there it belongs to the machine
(compose/chromium.sh installs it).
"""

import os
from pathlib import Path

import pytest

CHROMIUM = Path(os.environ.get("AMENDS_CHROMIUM", "/usr/bin/chromium"))
MISSING = f"no Chromium at {CHROMIUM}: run compose/chromium.sh, or name yours in AMENDS_CHROMIUM"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def needed() -> str:
    """Its path. Skips the test without it, or fails it in CI."""
    if CHROMIUM.exists():
        return str(CHROMIUM)
    if os.environ.get("CI") == "true":
        pytest.fail(MISSING)
    pytest.skip(MISSING)
