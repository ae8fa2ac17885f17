"""Each finding of `amends doctor` that is not ok has its words on the page that says what to do."""

import ast
import inspect
from pathlib import Path

import pytest

from orchestrator import doctor, doctor_relay

PAGE = Path("docs/operations/doctor.md")
WORDS_MIN = 2


def findings() -> list[tuple[str, set[str]]]:
    """`line: subject` of each Finding in the code, and the constant pieces of what it says and of what to do."""
    found = []
    for module in (doctor, doctor_relay):
        for function in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(function, ast.FunctionDef):
                texts = {
                    target.id: node.value
                    for node in ast.walk(function)
                    if isinstance(node, ast.Assign)
                    for target in node.targets
                    if isinstance(target, ast.Name)
                }
                found += [one for node in ast.walk(function) if (one := finding(node, texts)) is not None]
    return found


def finding(node: ast.AST, texts: dict[str, ast.expr]) -> tuple[str, set[str]] | None:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding"):
        return None
    level, subject, *said = node.args
    if isinstance(level, ast.Constant) and level.value == "ok":
        return None
    names = {part.id for one in said for part in ast.walk(one) if isinstance(part, ast.Name)}
    said += [texts[name] for name in sorted(names & texts.keys())]
    pieces = {
        part.value.strip(" :;,").split(": ")[-1]
        for one in said
        for part in ast.walk(one)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }
    whole = {piece for piece in pieces if len(piece.split()) >= WORDS_MIN}
    return f"{ast.unparse(subject)} at line {node.lineno}", whole


@pytest.mark.parametrize(("where", "pieces"), findings(), ids=lambda value: value if isinstance(value, str) else "")
def test_it_has_a_paragraph(where: str, pieces: set[str]) -> None:
    bold = " ".join(PAGE.read_text().split()).split("**")[1::2]
    if where.startswith("'sagas'"):
        pieces = {"N stuck", "N blocked"}  # its text is a number and a status
    assert any(words in piece or piece in words for words in bold for piece in pieces), (where, pieces)


def test_nothing_is_on_the_page_that_nobody_says() -> None:
    said = {piece for _, pieces in findings() for piece in pieces} | {"N stuck", "N blocked"}
    for words in " ".join(PAGE.read_text().split()).split("**")[1::2]:
        assert any(words in piece or piece in words for piece in said), words
