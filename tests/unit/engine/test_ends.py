"""Whoever asks Kafka where the shards end: questions that pile up are one, and no failure ends the thread."""

import threading
from typing import Any

from orchestrator.engine.ends import Ends
from orchestrator.messaging.kafka_errors import TopicMissing
from tests.deadlines import eventually


class Kafka:
    def __init__(self) -> None:
        self.answers = threading.Event()
        self.asked: list[list[int]] = []
        self.missing = False

    def sagas_topic_id(self) -> str:
        self.answers.wait()
        if self.missing:
            raise TopicMissing("sagas")
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
