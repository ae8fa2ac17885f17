"""Limits that nobody looks at are promises that nobody keeps; and what two rooms must agree on is held here."""

import ast
import re
from pathlib import Path

import pytest

from orchestrator import limits
from outbox_relay import limits as relay_limits

ROOT = Path(__file__).parents[2]
SOURCES = [path for package in ("orchestrator", "outbox_relay", "services") for path in (ROOT / package).rglob("*.py")]


@pytest.mark.parametrize("owner", ["orchestrator/limits.py", "orchestrator/api/limits.py", "outbox_relay/limits.py"])
def test_every_limit_is_used(owner: str) -> None:
    tree = ast.parse((ROOT / owner).read_text())
    names = {node.targets[0].id for node in tree.body if isinstance(node, ast.Assign)}
    texts = [path.read_text() for path in SOURCES if path != ROOT / owner]
    # Within its own file it counts where another limit is made of it.
    derived = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    for asserted in (part for part in tree.body if isinstance(part, ast.Assert)):
        derived -= {node.id for node in ast.walk(asserted) if isinstance(node, ast.Name)}
    words = set(re.findall(r"[A-Z][A-Z0-9_]+", "\n".join(texts)))
    assert names - words - derived == set(), "use them, or take them away"


def test_a_message_is_as_large_as_the_outbox_takes() -> None:
    assert limits.MESSAGE_BYTES_MAX == relay_limits.ROW_BYTES_MAX
    assert limits.OUTBOX_SENT_KEPT_S == relay_limits.SENT_KEPT_S
