"""What the pages point at exists: files, make targets, tests, modules, decisions."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, links, pages

GUARANTEES = ROOT / "docs" / "guarantees.md"
DECISIONS = ROOT / "docs" / "decisions"
NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
NAMED_MODULE = re.compile(r"`((?:orchestrator|outbox_relay|services)/[\w/]+\.py)`")
MAKE = re.compile(r"`make ([a-z][a-z0-9-]*)|^make ([a-z][a-z0-9-]*)", re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    missing = [link for link in links(page) if not (page.parent / link.partition("#")[0]).exists()]
    assert not missing


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_make_target_exists(page: Path) -> None:
    there = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    prose = page.read_text()
    if page.name != "README.md":
        prose += "".join(text for _, text in blocks(page))
    named = {one or other for one, other in MAKE.findall(prose)}
    assert named <= there


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_test_and_module_that_is_named_exists(page: Path) -> None:
    text = page.read_text()
    wrong = [path for path in NAMED_MODULE.findall(text) if not (ROOT / path).is_file()]
    for path, function in NAMED_TEST.findall(text):
        if not (ROOT / path).is_file() or (function and function not in functions_in(path)):
            wrong.append(f"{path}::{function}")
    assert not wrong


def functions_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_guarantee_names_what_shows_it_and_where_it_ends() -> None:
    sections = re.split(r"^## ", GUARANTEES.read_text(), flags=re.MULTILINE)[1:]
    guarantees = [section for section in sections if not section.startswith("What Amends does not do")]
    assert guarantees
    for section in guarantees:
        title = section.splitlines()[0]
        assert "- Rests on: " in section, title
        assert NAMED_TEST.search(section), title
        assert re.search(r"^- \**Ends ", section, re.MULTILINE), title


def test_decisions_have_numbers_of_their_own_and_stand_in_the_index() -> None:
    found = sorted(path for path in DECISIONS.glob("*.md") if path.name != "README.md")
    doubled = [number for number, times in Counter(path.name[:4] for path in found).items() if times > 1]
    assert not doubled
    index = (DECISIONS / "README.md").read_text()
    for path in found:
        title = path.read_text().splitlines()[0].removeprefix("# ")
        assert f"| {path.name[:4]} | [{title}]({path.name}) |" in index, path.name


def test_pages_that_the_code_names_exist() -> None:
    named = {
        match
        for folder in ("orchestrator", "outbox_relay", "services")
        for path in (ROOT / folder).rglob("*.py")
        for match in re.findall(r"docs/[\w/.-]+\.md", path.read_text())
    }
    assert not [path for path in named if not (ROOT / path).is_file()]


def test_every_test_of_bad_input_stands_on_its_page() -> None:
    named = set(NAMED_TEST.findall((ROOT / "docs" / "bad-input.md").read_text()))
    paths = sorted((ROOT / "tests" / "bad_input").glob("test_*.py"))
    assert len(paths) > 5
    there = {
        (str(path.relative_to(ROOT)), name)
        for path in paths
        for name in functions_in(str(path.relative_to(ROOT)))
        if name.startswith("test_")
    }
    assert there - named == set()
