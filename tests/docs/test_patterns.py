"""The pages of docs/patterns: every listing is a file that runs, every output is what it printed.

AMENDS_WRITE_PAGES=1 pytest tests/docs/test_patterns.py     puts what was printed into the pages; read the diff
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import psycopg
import pytest

from orchestrator import Saga, saga
from orchestrator.testing import Simulation
from orchestrator.testing.pytest_plugin import sim
from tests.bad_input.own_postgres import own_postgres
from tests.deadlines import deadline
from tests.docs.bash import Bash
from tests.docs.pages import FILE_NAME, ROOT, File, Step, agrees, blocks, script
from tests.docs.shell import difference
from tests.servers import with_database

__all__ = ["sim"]

FOLDER = ROOT / "docs" / "patterns"
LOOKS = re.compile(r'psql (-\S+ )*"\$\w+" (-\S+ )*"SELECT|python shop\.py look|amends (show|ls|trace|stuck)')
"""They change nothing: asked again until the answer is the page's."""

RESTART = "pg_ctl restart >/dev/null"
LOOK_S = 30.0
WRITES = "AMENDS_WRITE_PAGES" in os.environ
WRITING_LOOK_S = 4.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The listings, as a reader has them."""
    for listing in FOLDER.glob("*.py"):
        shutil.copy(listing, tmp_path)
    return tmp_path


@pytest.fixture
def bash(
    folder: Path, make_database: Callable[[], str], kafka_bootstrap_servers: str, topic_prefix: str
) -> Iterator[Bash]:
    """Two databases, and the Kafka of this run."""
    opened = Bash(
        folder,
        {
            "DATABASE_URL": make_database(),
            "BANK_URL": make_database(),
            "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
            "AMENDS_TOPIC_PREFIX": topic_prefix,
        },
    )
    yield opened
    opened.end()


PAGES = [page for page in sorted(FOLDER.glob("*.md")) if page.name != "gotchas.md"]  # whose listings are files of ours


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_listing_stands_in_its_file(page: Path) -> None:
    """In parts, in the order of the file; a line of three dots is what was left out."""
    for text in [text for language, text in blocks(page) if language == "python"]:
        name = FILE_NAME.match(text)
        assert name, "a listing begins with the name of its file"
        listing, at = (FOLDER / name[1]).read_text(), 0
        for part in text.removeprefix(name[0]).split("# …\n"):
            at = listing.find(part, at)
            assert at >= 0, f"{name[1]} has no longer:\n{part}"


def test_the_lines_of_the_table_are_those_that_were_counted() -> None:
    (counted,) = [part for part in script(FOLDER / "README.md") if isinstance(part, Step) and "grep" in part.command]
    (row,) = re.findall(r"^\| lines \|(.*)\|$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert [cell.strip() for cell in row.split("|")] == [line.partition(":")[2] for line in counted.printed]


def test_the_listings_have_types(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--cache-dir",
        str(ROOT / "var/mypy-patterns"),
    ]
    environment = {**os.environ, "MYPYPATH": os.pathsep.join([str(FOLDER), str(ROOT)])}
    files = sorted(map(str, FOLDER.glob("*.py")))
    done = subprocess.run(
        [*command, *files], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lines_are_counted(folder: Path) -> None:
    bash = Bash(folder, {})
    try:
        follow("README.md", bash)
    finally:
        bash.end()


def test_a_table_of_states(bash: Bash) -> None:
    follow("state-machine.md", bash)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", ["choreography.md", "orchestration.md", "durable-execution.md", "gotchas.md"])
def test_over_kafka(page: str, bash: Bash) -> None:
    follow(page, bash)


def lowered(text: str) -> str:
    return text.lower()


def test_a_replay_does_not_compare_the_arguments_of_a_step(sim: Simulation) -> None:
    """A limit that the pages own up to: who lifts it mends them."""
    coupons = ["WELCOME10"]

    @saga
    async def order(s: Saga, _: int) -> str:
        return await s.step(lowered, coupons.pop() if coupons else "NONE")

    assert sim.start(order, 0).result == "welcome10"
    assert not coupons


@pytest.mark.serial
def test_two_phase_commit(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    data = tmp_path_factory.mktemp("postgres") / "data"
    with own_postgres(data, "max_prepared_transactions=10", "autovacuum=off") as postgres:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE shop")
            connection.execute("CREATE DATABASE bank")
        urls = {"DATABASE_URL": with_database(postgres.url, "shop"), "BANK_URL": with_database(postgres.url, "bank")}
        bash = Bash(folder, urls)
        try:
            follow("two-phase-commit.md", bash, {RESTART: lambda: (postgres.stop(), postgres.start())})
        finally:
            bash.end()


def follow(name: str, bash: Bash, others: Mapping[str, Callable[[], object]] = MappingProxyType({})) -> None:
    """Type the page's commands; each must print what stands below it. `others` are done here, and print nothing."""
    page, at = FOLDER / name, 0
    for step in list(script(page)):
        if isinstance(step, File):
            if not (FOLDER / step.name).exists():
                (bash.folder / step.name).write_text(step.text)
            continue
        if other := others.get(step.command):
            other()
            continue
        printed = printed_by(step, bash)
        right = agrees(step.printed, printed)
        assert right or WRITES, difference(step, printed)
        at = write(page, step, step.printed if right else printed, at)


def printed_by(step: Step, bash: Bash) -> list[str]:
    """What it printed; a look is repeated until that is what the page says."""
    end_s = time.monotonic() + (WRITING_LOOK_S if WRITES else deadline(LOOK_S))
    while True:
        printed = bash.typed(step.command)
        if not LOOKS.match(step.command) or agrees(step.printed, printed) or time.monotonic() > end_s:
            return printed
        time.sleep(0.1)


def write(page: Path, step: Step, printed: list[str], at: int) -> int:
    """Put it below its command, the first from `at` on; return where it ends."""
    was, now = ("\n".join([f"$ {step.command}", *lines]) + "\n" for lines in (step.printed, printed))
    text = page.read_text()
    begin = text.index(was, at)
    if was != now:
        page.write_text(text[:begin] + now + text[begin + len(was) :])
    return begin + len(now)
