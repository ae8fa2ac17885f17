"""What `orchestrator` exports: each name where type checkers see it, loaded when it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import orchestrator

INIT = Path(orchestrator.__file__)


def names_for_type_checkers() -> set[str]:
    tree = ast.parse(INIT.read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    return {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def test_the_three_lists_agree() -> None:
    assert names_for_type_checkers() == set(orchestrator.__all__) == set(orchestrator._HOMES)


def test_names_of_the_core_resolve() -> None:
    for name in ("saga", "Saga", "SagaType", "Scope", "StepContext", "current_step", "Retry", "Command", "TimedOut"):
        assert getattr(orchestrator, name).__name__ == name
    assert "saga" in dir(orchestrator)


def test_an_import_loads_nothing() -> None:
    code = "import sys, orchestrator; print(any(name.startswith('orchestrator.') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_core_is_pure() -> None:
    forbidden = ("psycopg", "confluent_kafka", "fastavro", "httpx", "sqlalchemy", "rich", "orchestrator.messaging")
    code = (
        "import sys, orchestrator.core.replay, orchestrator.core.registry; "
        f"print([n for n in sys.modules if n.startswith({forbidden!r})])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
