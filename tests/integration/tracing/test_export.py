"""Every span of every committed turn reaches the collector, whatever dies; what comes twice is the same to the byte."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from orchestrator import limits
from orchestrator.engine import span_export
from orchestrator.engine.installation import connect
from orchestrator.engine.span_export import SpanExport
from orchestrator.engine.spans import Spans
from orchestrator.settings import Settings
from tests.deadlines import deadline, eventually
from tests.integration.tracing.collector import Collector
from tests.integration.tracing.committed import commit_sagas, insert_saga, queue, waiting
from tests.unit.tracing import journals as j

ROOT = Path(__file__).parents[3]


def start(url: str, endpoint: str, failpoints: str = "") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.tracing.exporter", url, endpoint],
        cwd=ROOT,
        env={**os.environ, "AMENDS_FAILPOINTS": failpoints},
    )


def end(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(deadline(30))


@contextmanager
def exporting(url: str, endpoint: str) -> Iterator[SpanExport]:
    settings = Settings(database_url=url, otel_exporter_otlp_endpoint=endpoint, topic_prefix="shop.")  # type: ignore[arg-type]
    export = SpanExport(settings, lambda: connect(url, "spans"))
    export.start()
    try:
        yield export
    finally:
        export.stop()


def all_once_or_alike(collector: Collector, expected: set[str]) -> int:
    """None missing, none invented, copies byte-identical. Returns how many came more than once."""
    assert set(collector.copies) == expected
    assert [span_id for span_id, copies in collector.copies.items() if len(set(copies)) > 1] == []
    return sum(len(copies) > 1 for copies in collector.copies.values())


def test_killed_while_the_collector_has_the_spans_and_has_not_answered(
    database_url: str, collecting: tuple[Collector, str]
) -> None:
    collector, endpoint = collecting
    seed = Random().randrange(10**6)
    print("seed", seed)
    committed = commit_sagas(database_url, 400, seed=seed)
    collector.hold_at = 2
    process = start(database_url, endpoint)
    assert collector.held.wait(deadline(60)), "the second request did not come"
    process.kill()
    process.wait()
    assert waiting(database_url) > 0
    collector.release.set()
    process = start(database_url, endpoint)
    eventually(lambda: waiting(database_url) == 0, 90, "the queue is empty")
    assert end(process) == 0
    assert all_once_or_alike(collector, committed.expected) > 0, "nothing was in flight when it was killed"


@pytest.mark.parametrize("place", ["engine.spans.sent", "engine.spans.removed"])
def test_killed_around_the_removal(database_url: str, collecting: tuple[Collector, str], place: str) -> None:
    collector, endpoint = collecting
    committed = commit_sagas(database_url, 400, seed=7, turns_max=3)  # some rows: they are sent in several parts
    process = start(database_url, endpoint, f"{place}=kill@2")
    assert process.wait(deadline(60)) == -signal.SIGKILL
    process = start(database_url, endpoint)
    eventually(lambda: waiting(database_url) == 0, 90, "the queue is empty")
    assert end(process) == 0
    repeated = all_once_or_alike(collector, committed.expected)
    assert (repeated > 0) == (place == "engine.spans.sent")


def test_two_exporters_share_the_shards_and_send_nothing_twice(
    database_url: str, collecting: tuple[Collector, str]
) -> None:
    collector, endpoint = collecting
    committed = commit_sagas(database_url, 200, seed=3)
    with exporting(database_url, endpoint), exporting(database_url, endpoint):
        eventually(lambda: waiting(database_url) == 0, 60, "the queue is empty")
    assert all_once_or_alike(collector, committed.expected) == 0


def test_no_shard_waits_for_the_end_of_anothers_queue(
    database_url: str, collecting: tuple[Collector, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    collector, endpoint = collecting
    monkeypatch.setattr(span_export, "ROWS_MAX", 1)
    collector.hold_at = 3
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        bodies = [j.started(0, j.call(0, "C0"))]
        bodies += [j.replied(n, n - 1, j.call(n, f"C{n}")) for n in range(1, 20)]
        insert_saga(cursor, 1, bodies, shard=0)
        for pos in range(20):
            queue(cursor, 0, pos + 1, [(1, pos)])
        insert_saga(cursor, 2, [j.started(0, j.call(0, "Other")), j.replied(1, 0, j.finish())], shard=1)
        queue(cursor, 1, 1, [(2, 0), (2, 1)])
    with exporting(database_url, endpoint):
        assert collector.held.wait(deadline(60)), "the third request did not come"
        assert collector.one("call Other")
        collector.release.set()
        eventually(lambda: waiting(database_url) == 0, 60, "the queue is empty")


def test_a_collector_that_is_down_costs_nothing_but_time(
    database_url: str,
    collecting: tuple[Collector, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    collector, endpoint = collecting
    committed = commit_sagas(database_url, 50, seed=5)
    collector.refusing = True
    monkeypatch.setattr(limits, "SPAN_SEND_TIMEOUT_S", 0.5)
    monkeypatch.setattr(span_export, "ROWS_MAX", 3)  # so that sagas go on behind what was refused
    with exporting(database_url, endpoint):
        eventually(lambda: "did not take the spans" in caplog.text, 30, "an attempt was given up")
        assert waiting(database_url) == committed.batches
        collector.refusing = False
        eventually(lambda: waiting(database_url) == 0, 60, "the queue is empty")
    all_once_or_alike(collector, committed.expected)


def test_stories_that_are_not_kept_are_read_again(
    database_url: str, collecting: tuple[Collector, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    collector, endpoint = collecting
    monkeypatch.setattr(limits, "SPAN_OPERATIONS_MAX", 10)
    monkeypatch.setattr(limits, "SPAN_TURNS_MAX", 5)
    committed = commit_sagas(database_url, 80, seed=19)
    kept: list[tuple[int, int]] = []
    keep = Spans._keep

    def noting(spans: Spans, saga_no: int, told: Any) -> None:
        keep(spans, saga_no, told)
        kept.append((spans._size, sum(1 + len(one.story.operations) for one in spans._told.values())))

    monkeypatch.setattr(Spans, "_keep", noting)
    with exporting(database_url, endpoint) as export:
        eventually(lambda: waiting(database_url) == 0, 60, "the queue is empty")
    assert all_once_or_alike(collector, committed.expected) == 0
    assert max(kept) == (10, 10), "as many as may be, and no more"
    assert all(size == counted for size, counted in kept)
    assert (export._spans._size, len(export._spans._told)) == (0, 0), "of a saga that has ended nothing is kept"


def test_what_a_collector_does_not_take_of_one_shard_holds_up_no_other(
    database_url: str, collecting: tuple[Collector, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    collector, endpoint = collecting
    collector.refused = "call Poison"
    monkeypatch.setattr(limits, "SPAN_SEND_TIMEOUT_S", 0.5)
    monkeypatch.setattr(span_export, "DRAIN_S", 0.0)
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        for shard in range(4):
            name = "Poison" if shard == 1 else f"C{shard}"
            insert_saga(cursor, shard + 1, [j.started(0, j.call(0, name)), j.replied(1, 0, j.finish())], shard=shard)
            queue(cursor, shard, 1, [(shard + 1, 0), (shard + 1, 1)])
    with exporting(database_url, endpoint):
        eventually(lambda: waiting(database_url) == 1, 60, "all but one were taken")
        assert collector.names() == {"call C0", "call C2", "call C3", "saga checkout"}
        collector.refused = ""
        eventually(lambda: waiting(database_url) == 0, 60, "the queue is empty")
    assert collector.one("call Poison")


def test_shards_that_are_not_reached_at_once_have_their_turn(
    database_url: str, collecting: tuple[Collector, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    collector, endpoint = collecting
    monkeypatch.setattr(limits, "SPAN_TURNS_MAX", 3)
    committed = commit_sagas(database_url, 60, seed=17)
    collector.hold_at = 5
    with exporting(database_url, endpoint):
        assert collector.held.wait(deadline(60)), "the fifth request did not come"
        with psycopg.connect(database_url) as connection:
            begun = (
                "SELECT count(*) FROM (SELECT min(batch_no) FROM amends.span_queue GROUP BY shard) AS s(n) WHERE n > 1"
            )
            assert connection.execute(begun).fetchone() == (4,)
        collector.release.set()
        eventually(lambda: waiting(database_url) == 0, 60, "the queue is empty")
    assert all_once_or_alike(collector, committed.expected) == 0


def test_a_collector_that_stays_down_costs_a_bounded_queue(
    database_url: str,
    collecting: tuple[Collector, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    collector, endpoint = collecting
    collector.refusing = True
    monkeypatch.setattr(limits, "SPAN_BATCHES_WAITING_MAX", 5)
    monkeypatch.setattr(limits, "SPAN_SEND_TIMEOUT_S", 0.5)
    monkeypatch.setattr(span_export, "DRAIN_S", 0.0)
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        insert_saga(cursor, 1, [j.started(0, *[j.call(n, f"C{n}") for n in range(30)])])
        for batch_no in range(1, 31):
            queue(cursor, 0, batch_no, [(1, 0)])
        insert_saga(cursor, 2, [j.started(0, j.finish())])
        queue(cursor, 0, 31, [(2, 0)])
    with exporting(database_url, endpoint):
        eventually(lambda: waiting(database_url) == 6, 60, "the oldest were given up")
    assert "were given up" in caplog.text


def test_what_arrives(database_url: str, collecting: tuple[Collector, str]) -> None:
    collector, endpoint = collecting
    bodies = [
        j.started(0, j.call(0, "Reserve")),
        j.replied(1, 0, j.call(1, "Charge")),
        j.replied(2, 1, j.status("compensating"), j.undo(0, "Reserve"), outcome="failed", problem=j.DECLINED),
        j.undone(3, 0, j.finish("failed", j.DECLINED)),
    ]
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        insert_saga(cursor, 1, bodies, shard=2)
        for epoch, s in ((1, -9.0), (2, 0.5), (3, 99.0)):
            cursor.execute(
                "INSERT INTO amends.takeovers (shard, epoch, name, at) VALUES (2, %s, %s, to_timestamp(%s))",
                (epoch, f"worker-{epoch}", j.us(s) / 1e6),
            )
        queue(cursor, 2, 1, [(1, 0), (1, 1)], epoch=1)
        queue(cursor, 2, 2, [(1, 2), (1, 3)], epoch=2)
    with exporting(database_url, endpoint):
        eventually(lambda: waiting(database_url) == 0, 30, "the queue is empty")
    root, charge, undo = collector.one("saga checkout"), collector.one("call Charge"), collector.one("undo Reserve")
    assert set(collector.services.values()) == {"amends-orchestrator"}
    assert (root.parent_span_id, charge.parent_span_id, undo.parent_span_id) == (b"", root.span_id, root.span_id)
    assert [link.span_id for link in undo.links] == [collector.one("call Reserve").span_id]
    assert (root.start_time_unix_nano, root.end_time_unix_nano) == (j.us(0) * 1_000, j.us(3) * 1_000)
    assert (charge.status.code, charge.status.message) == (2, j.DECLINED["text"])
    assert undo.status.code == 0
    taken = [event for event in root.events if event.name == "taken over"]
    assert [event.time_unix_nano for event in taken] == [j.us(0.5) * 1_000]


def test_an_end_by_force_has_no_turn_and_a_root_all_the_same(
    database_url: str, collecting: tuple[Collector, str]
) -> None:
    collector, endpoint = collecting
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        insert_saga(cursor, 1, [j.started(0, j.call(0, "Reserve"))])
        cursor.execute(
            "UPDATE amends.sagas SET status = 'terminated', ended_at = to_timestamp(%s), problem = %s",
            (j.us(9) / 1e6, '{"kind": "error", "type": "Terminated", "text": "by hand"}'),
        )
        queue(cursor, 0, 1, [(1, 0)])
        queue(cursor, 0, 2, [(1, -1)])
    with exporting(database_url, endpoint):
        eventually(lambda: waiting(database_url) == 0, 30, "the queue is empty")
    root = collector.one("saga checkout")
    assert (root.status.message, root.end_time_unix_nano) == ("by hand", j.us(9) * 1_000)
    assert collector.one("call Reserve").end_time_unix_nano == j.us(9) * 1_000


def test_a_body_that_is_nested_deeply_costs_no_span(database_url: str, collecting: tuple[Collector, str]) -> None:
    collector, endpoint = collecting
    nested: list[Any] = []
    for _ in range(500):
        nested = [nested]
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        bodies = [j.started(0, {**j.call(0, "Reserve"), "body": nested}), j.replied(1, 0, j.finish(), body=nested)]
        insert_saga(cursor, 1, bodies)
        queue(cursor, 0, 1, [(1, 0), (1, 1)])
    with exporting(database_url, endpoint):
        eventually(lambda: waiting(database_url) == 0, 30, "the queue is empty")
    assert collector.names() == {"call Reserve", "saga checkout"}


def test_a_stopped_exporter_is_deposed_with_its_session(database_url: str, collecting: tuple[Collector, str]) -> None:
    """Its locks end when whoever takes its shards over ends its sessions."""
    collector, endpoint = collecting
    committed = commit_sagas(database_url, 100, seed=11)
    collector.hold_at = 1
    process = start(database_url, endpoint)
    assert collector.held.wait(deadline(60))
    process.send_signal(signal.SIGSTOP)
    try:
        collector.release.set()
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'spans'"  # not another test's
            )
        with exporting(database_url, endpoint):
            eventually(lambda: waiting(database_url) == 0, 60, "the queue is empty")
    finally:
        process.send_signal(signal.SIGCONT)
        assert end(process) == 0
    all_once_or_alike(collector, committed.expected)


def test_without_an_endpoint_no_sdk_is_loaded_and_no_thread_runs(database_url: str) -> None:
    export = SpanExport(Settings(database_url=database_url), lambda: connect(database_url, "spans"))  # type: ignore[arg-type]
    before = threading.active_count()
    export.start()
    export.stop()
    assert (export.is_on, export.backends, threading.active_count()) == (False, [], before)
    code = "import sys, orchestrator.engine.worker; sys.exit(any('opentelemetry.sdk' in m for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
