"""`amends api` before it serves: where it does not listen, and what it prints."""

import json
import socket

import pytest

from orchestrator.api.tokens import make_token, parse_tokens
from orchestrator.cli import exits
from orchestrator.cli.context import CONTEXT
from orchestrator.cli.main import main
from tests.unit.api.reference import PAGE


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
    monkeypatch.delenv("AMENDS_API_TOKENS", raising=False)
    monkeypatch.setattr(CONTEXT, "as_json", False)


def code_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "amends.example"])
def test_it_does_not_listen_elsewhere_without_a_token(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("api", "--host", host, "--port", "0") == exits.DEPENDENCY
    said = capsys.readouterr().err
    assert "nothing was started" in said
    assert "amends api token NAME ROLE" in said


def test_a_token_in_place_of_its_hash_starts_nothing_and_is_not_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, _ = make_token("ada", "read")
    monkeypatch.setenv("AMENDS_API_TOKENS", f"ada:read:{text}")
    assert code_of("api") == exits.DEPENDENCY
    assert text not in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert code_of("api", "--port", str(taken.getsockname()[1])) == exits.DEPENDENCY
    assert "Nothing was started" in capsys.readouterr().err


def test_it_prints_its_document_without_a_database(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("api", "--openapi") == exits.OK
    assert json.loads(capsys.readouterr().out) == json.loads(PAGE.read_text())


def test_a_token_is_shown_with_the_line_for_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("api", "token", "ada", "operate") == exits.OK
    text, line = capsys.readouterr().out.split()
    [told] = parse_tokens(line)
    assert (told.name, told.role) == ("ada", "operate")
    assert text.startswith("amends_")
    assert code_of("api", "token", "ada", "operate", "--json") == exits.OK
    assert set(json.loads(capsys.readouterr().out)) == {"token", "line"}
    assert code_of("api", "token", "a/b", "operate") == exits.DEPENDENCY
