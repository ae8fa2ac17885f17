"""The house rules of the page's files, which no Python tool reads."""

import re
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[2] / "services" / "floor" / "static"
MODULES = sorted((STATIC / "js").glob("*.js"))
FILES = sorted(path for path in STATIC.rglob("*") if path.suffix in (".js", ".css", ".html", ".svg"))
MODULE_LINES_MAX = 300
IMPORTED = re.compile(r'\bfrom "\./([\w]+)\.js"|\bimport\("\./([\w]+)\.js"\)')


def test_there_is_a_page() -> None:
    assert len(MODULES) > 30


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_says_what_it_is_and_is_short(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("/**\n * "), "begin with a comment that says what it is"
    assert text.count("\n") <= MODULE_LINES_MAX


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_text_is_only_ever_text_and_no_style_is_written_into_markup(path: Path) -> None:
    text = path.read_text()
    for refused in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert refused not in text
    assert not re.search(r"setAttribute\(\s*\"style\"|[{,]\s*style:", text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_comes_from_another_host(path: Path) -> None:
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//[a-z0-9-]+\.[a-z]{2,}/", text)
    assert "@import" not in text


def test_the_page_itself_has_no_script_and_no_style_of_its_own() -> None:
    html = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script>", html)


def test_every_module_is_used_and_every_import_is_there() -> None:
    names = {path.stem for path in MODULES}
    imported = {one for path in MODULES for pair in IMPORTED.findall(path.read_text()) for one in pair if one}
    assert imported <= names
    assert names - imported == {"app"}  # it is what index.html loads


def test_every_symbol_and_every_texture_that_is_drawn_is_defined() -> None:
    html = (STATIC / "index.html").read_text()
    defined = set(re.findall(r'\sid="([\w-]+)"', html))
    drawn = {
        one
        for path in MODULES
        for one in re.findall(r'"#([\w-]+)"|url\(#([\w-]+)\)', path.read_text())
        for one in one
        if one
    }
    assert drawn <= defined, drawn - defined
