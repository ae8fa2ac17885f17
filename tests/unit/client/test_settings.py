"""Settings come from the environment, then from the local stack; what is missing is named; secrets are not shown."""

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestrator.errors import DependencyError
from orchestrator.settings import Settings, local_environment, origins, read_settings, variable_of, without_password

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"
VARIABLES = [variable_of(name) for name in Settings.model_fields]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def test_they_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@h/d")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "k:9092")
    monkeypatch.setenv("AMENDS_TOPIC_PREFIX", "shop.")
    settings = read_settings()
    assert settings.database_url.get_secret_value() == "postgresql://u:p@h/d"
    assert (settings.kafka_bootstrap_servers, settings.topic_prefix) == ("k:9092", "shop.")


def test_what_is_missing_is_named_with_what_to_type() -> None:
    with pytest.raises(DependencyError, match=r"DATABASE_URL is not set.*amends up"):
        read_settings()
    with pytest.raises(DependencyError, match="KAFKA_BOOTSTRAP_SERVERS is not set"):
        Settings(database_url="postgresql://h/d").for_kafka()


def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("AMENDS_TOPIC_PREFIX", "a b")
    with pytest.raises(DependencyError, match="topic_prefix"):
        read_settings()


def test_they_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings(database_url="postgresql://h/d").topic_prefix = "x"


def test_a_url_for_sqlalchemy_is_a_url_for_us() -> None:
    settings = Settings(database_url="postgresql+psycopg://u@h/d")
    assert settings.database_url.get_secret_value() == "postgresql://u@h/d"


def test_the_running_stack_is_found_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = {"DATABASE_URL": "postgresql://postgres@127.0.0.1:1/postgres", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:2"}
    (tmp_path / "stack.json").write_text(json.dumps(stack))
    assert read_settings(tmp_path).database_url.get_secret_value() == "postgresql://postgres@127.0.0.1:1/amends"
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/d")
    settings = read_settings(tmp_path)
    assert (settings.database_url.get_secret_value(), settings.kafka_bootstrap_servers) == (
        "postgresql://h/d",
        "127.0.0.1:2",
    )
    assert {one.variable: one.origin for one in origins(settings, {"DATABASE_URL": "x"})} == {
        **dict.fromkeys(VARIABLES, "default"),
        "DATABASE_URL": "environment",
        "KAFKA_BOOTSTRAP_SERVERS": "local stack",
    }


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"DATABASE_URL": 1}'])
def test_no_stack_is_no_environment(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "stack.json").write_text(content)
    assert local_environment(tmp_path) == {}


def test_passwords_are_not_shown() -> None:
    settings = Settings(database_url="postgresql://u:secret@h:5/d")
    shown = {one.variable: one.value for one in origins(settings, {})}
    assert shown["DATABASE_URL"] == "postgresql://u:***@h:5/d"
    assert "secret" not in repr(settings)
    assert without_password("postgresql://h/d") == "postgresql://h/d"
    assert "secret" not in without_password("host=h password=secret dbname=d")


def test_the_registrys_password_is_not_shown() -> None:
    url = "https://ada:s3cret@one:8081,https://ada:s3cret@two"
    settings = Settings(database_url="postgresql://h/d", schema_registry_url=url)
    [shown] = [one.value for one in origins(settings, {}) if one.variable == "SCHEMA_REGISTRY_URL"]
    assert shown == "https://ada:***@one:8081,https://ada:***@two"
    assert "s3cret" not in repr(settings)


def test_an_empty_variable_of_the_registry_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "")
    monkeypatch.setenv("AMENDS_SCHEMA_CACHE_DIR", "")
    settings = read_settings()
    assert (settings.schema_registry_url, settings.schema_cache_dir) == (None, None)


def test_every_setting_says_what_it_is() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name


def test_the_reference_page_has_exactly_these_settings() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", REFERENCE.read_text(), re.MULTILINE))
    assert list(rows) == VARIABLES
    for name, field in Settings.model_fields.items():
        default = rows[variable_of(name)]
        expected = "required" if field.is_required() else "" if field.default in (None, "") else f"`{field.default}`"
        assert default == expected, name
        assert str(field.description) in REFERENCE.read_text(), name
