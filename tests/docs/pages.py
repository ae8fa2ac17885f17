"""What a page of docs promises: files, commands and their output, taken out of its code blocks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# (\w+\.py)\n")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

ANY_LINES = "…"

# Each differs from run to run; the rest has to be word for word.
VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "INTERVAL"),
    (re.compile(r"\b\d+(\.\d+)?s\b"), "SECONDS"),
    (re.compile(r"by \S+ \(epoch \d+\)"), "by SOMEBODY"),
    (re.compile(r"^shard +\d+"), "shard N"),
    (re.compile(r"-{3,}"), "---"),  # below the head of a table
    (re.compile(r" +"), " "),  # columns are as wide as what varies in them
)


@dataclass(frozen=True, slots=True)
class File:
    """A block of Python that begins with the name of its file."""

    name: str
    text: str


@dataclass(slots=True)
class Step:
    """A line typed at a prompt, and the lines below it."""

    command: str
    printed: list[str] = field(default_factory=list)


def pages() -> list[Path]:
    """README.md and everything in docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[tuple[str, str]]:
    """The code blocks of a page: (language, text)."""
    return [(found[1], found[2]) for found in BLOCK.finditer(page.read_text())]


def script(page: Path) -> Iterator[File | Step]:
    """Files to write and commands to run, in the order of the page."""
    for language, text in blocks(page):
        if language == "python" and (name := FILE_NAME.match(text)):
            yield File(name[1], text)
        if language == "console":
            yield from steps(text)


def steps(text: str) -> list[Step]:
    """The commands of one block, each with its output."""
    found: list[Step] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append(Step(line.removeprefix("$ ")))
        else:
            found[-1].printed.append(line)
    return found


def links(page: Path) -> list[str]:
    """The relative links of a page, without what stands in its code blocks."""
    text = BLOCK.sub("", page.read_text())
    return [target for target in LINK.findall(text) if not re.match(r"[a-z]+:|#", target)]


def plain(line: str) -> str:
    """A line of output without what varies."""
    for pattern, name in VARYING:
        line = pattern.sub(name, line)
    return line.strip()


def agrees(promised: list[str], printed: list[str]) -> bool:
    """The lines are the same but for what varies; a line of three dots stands for any lines."""
    if not promised:
        return not printed
    if promised[0].strip() == ANY_LINES:
        return any(agrees(promised[1:], printed[skipped:]) for skipped in range(len(printed) + 1))
    return bool(printed) and plain(promised[0]) == plain(printed[0]) and agrees(promised[1:], printed[1:])


def appear_in_order(promised: list[str], printed: list[str]) -> bool:
    """Each promised line is there, after the one before it; log lines may stand between them."""
    lines = iter([plain(line) for line in printed])
    return all(plain(line) in lines for line in promised)
