"""The file of AMENDS_KAFKA_CONFIG: what is passed on, what is refused, and that no value is ever said."""

from pathlib import Path

import pytest

from orchestrator.errors import DependencyError
from orchestrator.kafka_config import ALLOWED, read_kafka_config
from orchestrator.settings import Settings, origins

SECRET = "swordfish=1 #2"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kafka.properties"


def test_what_it_says_goes_to_the_client_as_it_is(file: Path) -> None:
    file.write_text(f"# login\n! java's comments too\n\nsecurity.protocol = SASL_SSL\nsasl.password={SECRET}\n")
    assert read_kafka_config(file) == {"security.protocol": "SASL_SSL", "sasl.password": SECRET}


def test_without_a_file_there_is_nothing_to_say() -> None:
    assert read_kafka_config(None) == {}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("acks=0", "line 2: acks may not be set here"),
        ("enable.idempotence=false", "enable.idempotence may not be set here"),
        ("group.id=mine", "group.id may not be set here"),
        ("security.protocols=PLAINTEXT", "security.protocols may not be set here"),
        ("sasl.jaas.config=x", "sasl.jaas.config is the Java client's; librdkafka has sasl.username"),
        (SECRET.replace("=", ""), "line 2: not NAME=VALUE"),
    ],
)
def test_what_is_no_login_is_refused_by_its_name_and_line(file: Path, line: str, said: str) -> None:
    file.write_text(f"sasl.password={SECRET}\n{line}\n")
    with pytest.raises(DependencyError, match=said.replace(".", r"\.")) as caught:
        read_kafka_config(file)
    assert "swordfish" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match=r"AMENDS_KAFKA_CONFIG: .*none can't be read: No such file"):
        read_kafka_config(tmp_path / "none")


def test_librdkafka_knows_every_name_that_may_be_set() -> None:
    from confluent_kafka import KafkaException, Producer

    for name in ALLOWED:
        if not name.endswith("."):
            with pytest.raises(KafkaException) as caught:
                Producer({name: "no such value \0"})
            assert "No such configuration property" not in str(caught.value), name


def test_the_settings_show_its_path_and_nothing_of_it(file: Path) -> None:
    file.write_text(f"sasl.password={SECRET}\n")
    settings = Settings(database_url="postgresql://a@b/c", kafka_config=file)  # type: ignore[arg-type]
    assert settings.kafka_login() == {"sasl.password": SECRET}
    assert "swordfish" not in repr(settings)
    shown = {one.variable: one.value for one in origins(settings, {})}
    assert shown["AMENDS_KAFKA_CONFIG"] == str(file)
    assert not any("swordfish" in value for value in shown.values())
