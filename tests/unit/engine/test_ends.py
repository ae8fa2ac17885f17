"""Whoever asks Kafka where the shards end: questions that pile up are one, and no failure ends the thread."""

import threading
from typing import Any

import pytest

from orchestrator.engine.ends import Ends
from orchestrator.messaging.kafka_errors import TopicMissing
from tests.deadlines import eventually


class Kafka:
    def __init__(self) -> None:
        self.answers = threading.Event()
        self.asked: list[list[int]] = []
        self.missing = False
        self.topic = "sagas"

    def sagas_topic_id(self) -> str:
        self.answers.wait()
        if self.missing:
            raise TopicMissing(self.topic)
        return "id"

    def ends(self, shards: list[int]) -> dict[int, int]:
        self.asked.append(shards)
        return dict.fromkeys(shards, 9)


def test_what_was_asked_while_kafka_was_silent_is_one_question() -> None:
    kafka, given = Kafka(), []
    fake: Any = kafka
    ends = Ends(fake, wake=lambda: None, now_us=lambda: 1)
    ends.start()
    ends.ask([0])
    for _ in range(1_000):
        ends.ask([1])
        ends.ask([2])
    kafka.answers.set()
    eventually(lambda: given.extend(ends.news()) or {one.shard for one in given} == {0, 1, 2}, 10, "all are answered")
    assert len(kafka.asked) <= 2
    kafka.missing = True
    ends.ask([3])
    kafka.missing = False
    ends.ask([4])
    eventually(lambda: given.extend(ends.news()) or 4 in {one.shard for one in given}, 10, "it goes on")
    ends.stop()


def test_the_same_failure_is_said_once_and_not_each_time(caplog: pytest.LogCaptureFixture) -> None:
    """A topic that is missing for a minute was ten lines a second."""
    kafka = Kafka()
    kafka.topic = "of-this-test"  # what was said before is remembered, by its text
    kafka.missing = True
    kafka.answers.set()
    fake: Any = kafka
    ends = Ends(fake, wake=lambda: None, now_us=lambda: 1)
    ends.start()
    failures = 0

    def failed() -> bool:
        nonlocal failures
        ends.ask([0])
        failures += 1
        return failures > 50

    eventually(failed, 10, "it was asked many times")
    kafka.missing = False
    ends.ask([1])
    eventually(lambda: 1 in {one.shard for one in ends.news()}, 10, "all the failures are over")
    ends.stop()
    assert len([record for record in caplog.records if "where the shards end" in record.message]) == 1
