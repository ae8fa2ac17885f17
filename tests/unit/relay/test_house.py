"""What the relay's house believes of topics that Kafka does not know."""

from typing import Any

import pytest

from outbox_relay import topics
from outbox_relay.house import House
from outbox_relay.topics import Topic

SAGAS = "sagas"


class Kafka:
    """What the broker says of topics."""

    def __init__(self) -> None:
        self.found: dict[str, Topic] = {}
        self.forbidden: frozenset[str] = frozenset()

    def describe(self, _names: object) -> dict[str, Topic]:
        return self.found


class Session:
    """Knows the topics that `amends.topics` has, and forgets what it is told."""

    rowcount = 0

    def execute(self, statement: str, _params: Any = None) -> "Session":
        self._rows: list[tuple[Any, ...]] = [(SAGAS, 4, None)] if statement == topics.SELECT else [(0,)]
        return self

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def house(kafka: Kafka) -> House:
    return House("postgresql://nowhere", "unit", kafka, lambda _session: None)  # type: ignore[arg-type]


def look(house: House) -> None:
    house._refresh(Session())  # type: ignore[arg-type]


def test_a_topic_that_was_made_a_moment_ago_is_no_missing_one(house: House, kafka: Kafka) -> None:
    look(house)
    assert house.missing == frozenset()
    assert not house.knows(SAGAS)  # so its rows wait
    kafka.found = {SAGAS: Topic(SAGAS, 4, "A")}
    look(house)
    assert house.missing == frozenset()
    assert house.knows(SAGAS)


def test_what_is_absent_twice_is_missing_until_it_is_there(house: House, kafka: Kafka) -> None:
    look(house)
    look(house)
    assert house.missing == {SAGAS}
    assert house.knows(SAGAS)
    look(house)
    assert house.missing == {SAGAS}
    kafka.found = {SAGAS: Topic(SAGAS, 4, "A")}
    look(house)
    assert house.missing == frozenset()
    kafka.found = {}
    look(house)
    assert house.missing == frozenset()  # it is asked for once more


def test_a_topic_that_our_login_may_not_know_waits_until_it_may(
    house: House, kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    kafka.forbidden = frozenset({SAGAS})
    look(house)
    look(house)
    assert house.missing == {SAGAS}
    assert "topic sagas is in amends.topics, but our login may not write to it" in caplog.text
    assert "authorization failed" in house.why_missing(SAGAS)
    kafka.found, kafka.forbidden = {SAGAS: Topic(SAGAS, 4, "A")}, frozenset()
    look(house)
    assert house.missing == frozenset()
    assert "no such topic" in house.why_missing(SAGAS)


def test_what_was_doubted_is_not_known_before_a_look_that_began_later(
    house: House, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka.found = {SAGAS: Topic(SAGAS, 4, "A")}
    look(house)
    assert (house.knows(SAGAS), house.partitions) == (True, {SAGAS: 4})
    answer = kafka.describe

    def doubted_meanwhile(names: object) -> dict[str, Topic]:
        house.doubt(SAGAS)
        return answer(names)

    monkeypatch.setattr(kafka, "describe", doubted_meanwhile)
    look(house)
    assert not house.knows(SAGAS)
    monkeypatch.undo()
    kafka.found = {SAGAS: Topic(SAGAS, 8, "A")}
    look(house)
    assert (house.knows(SAGAS), house.partitions) == (True, {SAGAS: 8})


def test_without_an_answer_nobody_claims_to_know_how_many_partitions_a_doubted_topic_has(
    house: House, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka.found = {SAGAS: Topic(SAGAS, 4, "A")}
    look(house)
    house.doubt(SAGAS)

    def away(_names: object) -> dict[str, Topic]:
        raise TimeoutError

    monkeypatch.setattr(kafka, "describe", away)
    look(house)
    assert house.knows(SAGAS)  # its rows are tried: Kafka's client waits for Kafka better than we do
    assert house.partitions == {}
