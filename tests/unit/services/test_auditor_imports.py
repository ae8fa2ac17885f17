"""The auditor may share nothing with what it audits: the standard library and psycopg, and not a module more."""

import ast
import sys
from pathlib import Path

import pytest

SERVICES = Path(__file__).parents[3] / "services"


@pytest.mark.parametrize("auditor", ["auditor.py", "delivery/auditor.py"])
def test_the_auditor_imports_only_the_standard_library_and_psycopg(auditor: str) -> None:
    imported = set()
    for node in ast.walk(ast.parse((SERVICES / auditor).read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or ".").split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"psycopg"}
