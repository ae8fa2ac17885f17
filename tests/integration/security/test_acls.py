"""What `amends migrate --principal` gives is enough for every process, and no more, at a broker that enforces it."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Message, Producer

from orchestrator.cli import exits
from orchestrator.kafka_config import read_kafka_config
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import APP
from tests.integration.engine.program import refused, transfer
from tests.integration.security.conftest import PRINCIPALS, Installation, migrated
from tests.integration.security.kafka import password

pytestmark = pytest.mark.slow

EVERYBODY = tuple(f"{role}=User:{user}" for role, user in PRINCIPALS.items())


def sent(installation: Installation, user: str, topic: str) -> int | None:
    """Write to a topic as somebody; the code of the refusal."""
    assert installation.secure is not None
    errors: list[int | None] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        errors.append(None if error is None else error.code())

    login: Mapping[str, str] = read_kafka_config(installation.secure.login(user))
    producer = Producer({"bootstrap.servers": installation.secure.bootstrap, **login})
    producer.produce(f"{installation.prefix}{topic}", b"forged", partition=0, on_delivery=delivered)
    producer.flush(deadline(20))
    [error] = errors
    return error


def started(installation: Installation) -> None:
    """All processes, each as itself in Postgres and in Kafka."""
    installation.process("relay", "relay", user="relay")
    installation.process("participant", "participant", APP, user="ledger")
    installation.process("worker", "orchestrator", APP, user="orchestrator")


def test_a_saga_and_one_that_is_undone_run_under_the_acls_and_the_roles(guarded: Installation) -> None:
    assert "Kafka: 10 ACLs, 10 of them new" in migrated(guarded, *EVERYBODY)
    assert "Kafka: 10 ACLs, 0 of them new" in migrated(guarded, *EVERYBODY)  # and again: nothing to add
    started(guarded)
    client = guarded.client()
    client.start(transfer, "good", id="good")
    client.start(refused, "bad", id="bad")
    assert guarded.ended("good", "bad") == {"good": "completed", "bad": "failed"}
    assert (guarded.booked("good"), guarded.booked("bad")) == (30, 0)
    code, said = guarded.amends("console", "doctor", user="doctor")
    assert f"ok       Kafka {guarded.environment('console', 'doctor')['KAFKA_BOOTSTRAP_SERVERS']}" in said, said
    assert code in (exits.OK, exits.UNHEALTHY)  # one broker has one replica, which doctor does not like


def test_nobody_but_the_relay_writes_and_a_stranger_does_nothing(guarded: Installation) -> None:
    migrated(guarded, *EVERYBODY)
    for user in ("ledger", "orchestrator", "doctor", "stranger"):
        assert sent(guarded, user, "sagas") == KafkaError.TOPIC_AUTHORIZATION_FAILED, user
    assert sent(guarded, "ledger", "ledger.commands") == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert sent(guarded, "relay", "sagas") is None
    code, said = guarded.amends("participant", "participant", APP, user="stranger")
    assert (code, "Topic authorization failed" in said) == (exits.DEPENDENCY, True), said
    assert "docs/operations/roles.md" in said


def test_a_relay_without_its_acl_says_so_and_goes_on_when_it_has_it(guarded: Installation, tmp_path: Path) -> None:
    migrated(guarded, *(one for one in EVERYBODY if not one.startswith("relay=")))
    log = tmp_path / "relay.log"
    guarded.process("relay", "relay", user="relay", log=log)
    guarded.process("participant", "participant", APP, user="ledger")
    guarded.process("worker", "orchestrator", APP, user="orchestrator")
    guarded.client().start(transfer, "late", id="late")
    eventually(lambda: "authorization failed" in log.read_text(), 60, "the relay says what it may not do")
    # An orchestrator that claims its shard now begins who is queued there; but no command leaves.
    assert guarded.rows("SELECT 1 FROM amends.sagas WHERE ended_at IS NOT NULL") == []
    migrated(guarded, "relay=User:relay")
    assert guarded.ended("late") == {"late": "completed"}
    assert guarded.booked("late") == 30


def test_the_owner_may_make_topics_and_no_more(guarded: Installation) -> None:
    code, said = guarded.amends("owner", "migrate", APP, "--part", "engine", user="migrator")
    assert code == exits.DEPENDENCY, said  # nobody has made the login's rights in this database, nor in Kafka
    migrated(guarded, "owner=User:migrator")
    for topic in ("sagas", "ledger.commands"):
        assert sent(guarded, "migrator", topic) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    code, said = guarded.amends("owner", "migrate", APP, "--part", "engine", user="migrator")
    assert code == exits.OK, said


def test_no_password_is_printed(guarded: Installation) -> None:
    code, said = guarded.amends("console", "config", user="doctor")
    assert code == exits.OK
    assert "doctor.properties" in said
    assert password("doctor") not in said
