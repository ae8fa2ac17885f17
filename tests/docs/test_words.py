"""One word, one meaning: what docs/glossary.md gave up comes back neither in prose nor in names."""

import inspect
import re
from pathlib import Path

import pytest
import typer

import orchestrator
from orchestrator import Client, Saga, SyncClient
from orchestrator.cli.main import app
from tests.docs.pages import ROOT, pages

GIVEN_UP = re.compile(r"\b(workflows?|activit(?:y|ies)|event histor(?:y|ies)|compensators?)\b", re.IGNORECASE)
NO_NAME = re.compile(r"workflow|activity|signal|history", re.IGNORECASE)
GLOSSARY = ROOT / "docs" / "glossary.md"


def sources() -> list[Path]:
    return [path for folder in ("orchestrator", "outbox_relay", "services") for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize("path", [*pages(), *sources()], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_and_no_module_uses_a_word_that_was_given_up(path: Path) -> None:
    text = path.read_text()
    if path == GLOSSARY:
        text = text.partition("## Words that we don't use")[0]
    assert not GIVEN_UP.findall(text)  # `pg_stat_activity` is one word to the expression, and Postgres's


def test_no_public_name_contains_one() -> None:
    names = {*orchestrator.__all__, *typer.main.get_command(app).commands}  # type: ignore[attr-defined]
    for cls in (Saga, Client, SyncClient):
        for name, member in inspect.getmembers(cls):
            if name.startswith("_"):
                continue
            names |= {name, *(inspect.signature(member).parameters if inspect.isfunction(member) else ())}
    assert not [name for name in names if NO_NAME.search(name)]


def test_every_word_of_the_glossary_is_explained_once() -> None:
    words = re.findall(r"^\| \*\*([^*]+)\*\* \|", GLOSSARY.read_text(), re.MULTILINE)
    assert len(words) > 20
    assert len(words) == len(set(words))
