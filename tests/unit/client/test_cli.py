"""Every command has a help with an example, prints JSON on demand, and stands in the reference; errors have codes."""

import inspect
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator import errors
from orchestrator.cli import exits, output, reading
from orchestrator.cli.context import CONTEXT, Context
from orchestrator.cli.main import main
from tests.unit.client.reference import cli_reference, commands

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"
COMMANDS = commands()
WITHOUT_JSON = {
    "orchestrator",
    "participant",
    "relay",
    "api",
    "dev",
    "start",
}  # processes; and `start`, whose --json is its input


@pytest.fixture(autouse=True)
def fresh_context(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for variable in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "AMENDS_VAR", "AMENDS_APP"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    fresh = Context()
    yield
    CONTEXT.var, CONTEXT.as_json = fresh.var, fresh.as_json


def code_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_all_commands_of_the_promise_are_there() -> None:
    promised = (
        "start ls show trace watch send cancel terminate stuck retry skip fail unblock verbs kill doctor migrate "
        "orchestrator participant relay dev up down config"
    )
    of_the_outbox = {f"outbox {name}" for name in ("ls", "dead", "redrive", "discard", "resend")}
    of_the_relay = {"relay switch", "relay status"}
    of_the_schemas = {f"schemas {name}" for name in ("write", "check", "register")}
    of_the_api = {"api", "api token"}
    assert set(promised.split()) | of_the_api | of_the_outbox | of_the_relay | of_the_schemas == set(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_begins_short_and_has_an_example(name: str) -> None:
    text = inspect.cleandoc(COMMANDS[name].help or "")
    assert len(text.splitlines()[0]) <= 55
    assert re.search(rf"^Example: amends {name}( |$)", text, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - WITHOUT_JSON))
def test_json_is_everywhere(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in COMMANDS[name].params)


def test_the_reference_is_what_the_commands_say() -> None:
    assert REFERENCE.read_text() == cli_reference(), "write it again: python -m tests.unit.client.reference"


def test_without_servers_it_says_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("ls") == exits.DEPENDENCY
    assert "DATABASE_URL" in capsys.readouterr().err
    assert code_of("--json", "ls") == exits.DEPENDENCY
    assert json.loads(capsys.readouterr().out)["error"] == "DependencyError"
    assert code_of("ls", "--json") == exits.DEPENDENCY
    assert json.loads(capsys.readouterr().out)["error"] == "DependencyError"


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["show"],
        ["start", "x", "--json", "{"],
        ["ls", "--limit", "0"],
        ["kill", "x", "--signal", "NONE"],
        ["outbox", "resend", "--topic", "sagas", "--since", "yesterday"],
        ["outbox", "resend", "--topic", "sagas", "--since", "2026-01-31T08:00:00"],
    ],
)
def test_a_command_line_that_is_not_understood(arguments: list[str]) -> None:
    assert code_of(*arguments) == exits.USAGE


def test_what_cant_be_killed_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("kill", "orchestrator") == exits.DEPENDENCY
    assert "no process orchestrator of this stack runs" in capsys.readouterr().err


def test_migrate_prints_sql_without_any_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("migrate", "--sql", "--part", "outbox") == exits.OK
    printed = capsys.readouterr().out
    assert "CREATE TABLE IF NOT EXISTS amends.outbox" in printed
    assert "CREATE TABLE amends.sagas" not in printed


def test_version() -> None:
    assert code_of("--version") == exits.OK


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SagaNotFound(), exits.NOT_FOUND),
        (errors.SagaIdTaken(), exits.REFUSED),
        (errors.RequestError(), exits.REFUSED),
        (errors.PayloadError(), exits.REFUSED),
        (errors.DependencyError(), exits.DEPENDENCY),
        (errors.LocalStackError(), exits.DEPENDENCY),
        (errors.DefinitionError(), exits.DEFINITION),
        (errors.SagaFailed("x", "failed", "E", ""), exits.SAGA_FAILED),
        (errors.TimedOut(), exits.SAGA_FAILED),
        (errors.Misuse(), exits.ERROR),
        (KeyboardInterrupt(), exits.INTERRUPTED),
        (ValueError(), exits.ERROR),
    ],
)
def test_codes(error: BaseException, code: int) -> None:
    assert exits.code_of(error) == code


def test_every_code_has_a_meaning() -> None:
    codes = {str(value) for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert codes == set(exits.MEANINGS)


def test_a_bug_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Context, "settings", broken)
    with pytest.raises(ZeroDivisionError):
        main(["ls"])


def test_a_table_without_a_terminal_is_plain_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["id", "n"], [["[red]x", 1], ["a\nb" * 50, None]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["id", "n"]
    assert lines[1].split() == ["[red]x", "1"]
    assert lines[2] == " ".join(("a\nb" * 50).split())


def test_a_turn_that_seems_to_be_before_its_start_is_shown_at_it() -> None:
    started_at = datetime(2026, 1, 31, tzinfo=UTC)
    at_us = int(started_at.timestamp() * 1_000_000)
    assert reading._after(SimpleNamespace(body=[{"at": at_us - 15_000}]), started_at) == "+0.000s"
    assert reading._after(SimpleNamespace(body=[{"at": at_us + 15_000}]), started_at) == "+0.015s"


def test_what_is_settled_is_one_item_that_names_the_services() -> None:
    settled = [{"op": "settle", "service": name, "seqs": [0]} for name in ("orders", "stock")]
    text = reading._decisions_text([*settled, {"op": "finish", "name": "completed"}])
    assert text == "settle orders, stock; finish completed"
