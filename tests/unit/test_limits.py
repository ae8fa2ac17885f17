"""A limit that nobody keeps is none."""

import re
from pathlib import Path

import pytest

from orchestrator import limits

ROOT = Path(__file__).parents[2]
CODE = "\n".join(
    path.read_text()
    for package in ("orchestrator", "services")
    for path in (ROOT / package).rglob("*.py")
    if path.name != "limits.py"
)


@pytest.mark.parametrize("name", [name for name in vars(limits) if name.isupper()])
def test_every_limit_is_kept_somewhere(name: str) -> None:
    assert re.search(rf"\blimits\.{name}\b", CODE), f"limits.{name} is used by nobody: use it, or take it away"
