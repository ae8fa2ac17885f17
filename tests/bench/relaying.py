"""The relay by itself: rows of 200 bytes, from the COMMIT that made them to the broker's ack."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from confluent_kafka import Consumer, TopicPartition

from outbox_relay import Row, table
from tests.bench.installation import Installation
from tests.bench.program import PAYLOAD
from tests.deadlines import deadline, eventually

ROWS, ROWS_A_COMMIT = 50_000, 500
KEYS = 1_000
SERIES, WARM = 200, 20
LEFT = "SELECT count(*) FROM amends.outbox"
STATE = "SELECT state FROM amends.relay_lease"
PARTITIONS = "SELECT partitions FROM amends.topics WHERE topic = %s"


def cdc_rate(place: Installation) -> dict[str, float]:
    return {"relay_cdc_rows_per_s": _rate(place, "cdc"), "relay_p50_ms": _median_ms(place)}


def polling_rate(place: Installation) -> dict[str, float]:
    return {"relay_polling_rows_per_s": _rate(place, "polling")}


def _rate(place: Installation, mode: str) -> float:
    """Rows a second from the first COMMIT to the last ack: the relay works while they come."""
    place.relay(mode)
    eventually(lambda: place.row(STATE)[0] in ("streaming", "polling"), 30, "the relay works")
    rows = [_row(place, n) for n in range(ROWS)]
    with psycopg.connect(place.url, autocommit=True) as connection:
        partitions = _partitions(place)
        ready = [
            table.insert_params(rows[n : n + ROWS_A_COMMIT], lambda _: partitions)
            for n in range(0, ROWS, ROWS_A_COMMIT)
        ]
        began_s = time.monotonic()
        for params in ready:
            connection.execute(table.INSERT_MANY, params)
        while connection.execute(LEFT).fetchone() != (0,):
            assert time.monotonic() - began_s < deadline(120)
            time.sleep(0.01)
    return ROWS / (time.monotonic() - began_s)


def _median_ms(place: Installation) -> float:
    """From a COMMIT to the record in a consumer's hands, which is a little later than the ack."""
    taken_ms = []
    with psycopg.connect(place.url, autocommit=True) as connection, _reader(place) as reader:
        partitions = _partitions(place)
        for n in range(WARM + SERIES):
            connection.execute(table.INSERT_MANY, table.insert_params([_row(place, n)], lambda _: partitions))
            began_s = time.perf_counter()
            message = reader.poll(10)
            assert message is not None and message.error() is None, message
            taken_ms.append((time.perf_counter() - began_s) * 1_000)
    return sorted(taken_ms[WARM:])[SERIES // 2]


def _row(place: Installation, n: int) -> Row:
    topic = f"{place.settings.topic_prefix}bench.commands"
    return Row(
        topic=topic, key=f"key-{n % KEYS}", type="Counted", payload=PAYLOAD.encode(), headers={"kind": "command"}
    )


def _partitions(place: Installation) -> int:
    return int(place.row(PARTITIONS, f"{place.settings.topic_prefix}bench.commands")[0])


@contextmanager
def _reader(place: Installation) -> Iterator[Consumer]:
    """At the end of every partition."""
    topic = f"{place.settings.topic_prefix}bench.commands"
    reader = Consumer({"bootstrap.servers": place.settings.kafka_bootstrap_servers, "group.id": "bench-reader"})
    reader.assign(
        [
            TopicPartition(topic, n, reader.get_watermark_offsets(TopicPartition(topic, n))[1])
            for n in range(_partitions(place))
        ]
    )
    try:
        yield reader
    finally:
        reader.close()
