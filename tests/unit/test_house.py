"""The house rules that no linter knows: sizes, and names that tell where code was left instead of what it is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("orchestrator", "outbox_relay", "services")
MODULE_LINES_MAX = 350
FUNCTION_LINES_MAX = 70
VAGUE_NAMES = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}

MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])
def test_a_module_has_a_name_that_says_what_it_is_and_fits_in_a_head(path: Path) -> None:
    assert path.stem not in VAGUE_NAMES
    lines = path.read_text().count("\n")
    assert lines <= MODULE_LINES_MAX, f"{lines} lines: split it by what it is about"
    long = {function.name: (function.end_lineno or 0) - function.lineno + 1 for function in functions(path)}
    assert {name: size for name, size in long.items() if size > FUNCTION_LINES_MAX} == {}
