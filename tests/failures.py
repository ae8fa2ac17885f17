"""What failed in a run of many folders, told once more at its very end: who keeps only a log's last lines sees it too.

It is read from the JUnit XML that pytest writes for each folder (https://docs.pytest.org/en/stable/how-to/output.html).
"""

import xml.etree.ElementTree as ET  # our own file, written by pytest a moment before
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MESSAGE_CHARS = 300
TRACE_LINES = 25


@dataclass(frozen=True, slots=True)
class Failure:
    """One test that failed, or could not be set up or taken down."""

    test: str
    message: str
    trace: str


def failures(report: Path) -> list[Failure]:
    """Those in one folder's report. A pytest that was killed left none: who ran it knows that from the exit code."""
    return list(_failures(ET.parse(report).getroot())) if report.exists() else []


def _failures(root: ET.Element) -> Iterator[Failure]:
    for case in root.iter("testcase"):
        for told in (*case.findall("failure"), *case.findall("error")):
            name = f"{case.get('classname')}::{case.get('name')}"
            yield Failure(name, told.get("message", ""), told.text or "")


def summary(failed: list[Failure]) -> str:
    """Traces first and the names last, so that even the shortest tail of a log holds all names."""
    traces = [f"-- failed: {each.test}\n{_last_lines(each.trace)}" for each in failed]
    names = [f"{each.test}: {_one_line(each.message)}" for each in failed]
    return "\n".join([*traces, f"-- {len(failed)} failed", *names])


def _last_lines(trace: str) -> str:
    return "\n".join(trace.splitlines()[-TRACE_LINES:])


def _one_line(message: str) -> str:
    return " ".join(message.split())[:MESSAGE_CHARS]
