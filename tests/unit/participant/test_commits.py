"""Every commit of a participant has a name, and with it two failpoints; only what reads has none."""

import ast
from pathlib import Path
from typing import get_args

import orchestrator.participant
from orchestrator.participant.connection import Place

ROOM = Path(orchestrator.participant.__file__).parent
READS = {"_READ", "topics.SELECT"}


def statements_on_lanes():
    """(where, what is executed or None for a transaction, the place that is named)."""
    for path in sorted(ROOM.glob("*.py")):
        if path.name == "connection.py":  # Lane itself
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = ast.unparse(node.func.value)
            if not any(word in owner for word in ("lane", "_renewals")):
                continue
            where = f"{path.name}:{node.lineno}"
            if node.func.attr == "transaction":
                yield where, None, ast.unparse(node.args[0]) if node.args else None
            elif node.func.attr == "execute":
                yield where, ast.unparse(node.args[0]), ast.unparse(node.args[2]) if node.args[2:] else None


def test_whoever_commits_says_where():
    nameless = [
        (where, statement) for where, statement, place in statements_on_lanes() if not place and statement not in READS
    ]
    assert nameless == []


def test_every_name_is_used():
    named = {place.strip("'") for _, _, place in statements_on_lanes() if place}
    assert named - {"self._work.place"} == set(get_args(Place)) - {"requests", "ends", "events"}


def test_nobody_has_a_connection_beside_the_lanes():
    for path in ROOM.glob("*.py"):
        assert path.name == "connection.py" or "Connection.connect" not in path.read_text(), path.name
