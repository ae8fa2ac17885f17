"""From counts to Prometheus' text: cumulated buckets, escaped labels, one series where two parts say the same."""

from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.engine.batch import Batch
from orchestrator.engine.counts import COMMIT_BOUNDS_S, Counts
from orchestrator.engine.sagas import Move
from orchestrator.monitoring import metrics
from orchestrator.monitoring.exposition import Exposition
from orchestrator.monitoring.metrics import Distribution, Sample


class Part:
    title = "part"

    def __init__(self, *samples: Sample | Distribution) -> None:
        self._samples = samples

    def samples(self) -> Iterator[Sample | Distribution]:
        return iter(self._samples)


def rendered(*parts: Part) -> dict[tuple[str, tuple[str, ...]], float]:
    content_type, body = Exposition(parts, lambda: True).render("")  # type: ignore[arg-type]
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(body.decode())
    return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}


def test_buckets_are_cumulated_and_labels_survive() -> None:
    counts = Counts()
    for seconds in (0.0005, 0.001, 0.3, 99.0):
        counts.committed(Batch(), seconds)
    shown = rendered(
        Part(
            Distribution(metrics.COMMITS, COMMIT_BOUNDS_S, tuple(counts.commits), counts.commits_s),
            Sample(metrics.OUTBOX_ROWS, 3, ('a"b\\c\nd',)),
        )
    )
    name = "amends_commit_duration_seconds"
    assert shown[f"{name}_bucket", ("0.001",)] == 2
    assert shown[f"{name}_bucket", ("0.25",)] == 2
    assert shown[f"{name}_bucket", ("0.5",)] == 3
    assert shown[f"{name}_bucket", ("5.0",)] == 3
    assert shown[f"{name}_bucket", ("+Inf",)] == shown[f"{name}_count", ()] == 4
    assert shown[f"{name}_sum", ()] == pytest.approx(99.3015)
    assert shown["amends_outbox_rows", ('a"b\\c\nd',)] == 3


def test_two_parts_on_one_database_show_its_outbox_once() -> None:
    row = Sample(metrics.OUTBOX_ROWS, 3, ("shop",))
    _, body = Exposition([Part(row), Part(row)], lambda: False).render("")  # type: ignore[arg-type]
    assert body.decode().count('amends_outbox_rows{database="shop"}') == 1
    assert "amends_ready 0.0" in body.decode()


def test_a_batch_counts_ends_once_and_forgeries_apart() -> None:
    batch, counts = Batch(), Counts()
    writes = batch.of(0)
    writes.move(Move(saga_no=1, before="queued", after="running"))
    writes.move(Move(saga_no=1, before="running", after="completed"))
    writes.move(Move(saga_no=2, before="running", after="failed"))
    writes.move(Move(saga_no=3, before="completed", after="cancelled"))  # a child that is taken back after its end
    writes.move(Move(saga_no=4, before="running", after="stuck"))
    writes.ignore("forged: the answer's nonce is not ours", "a")
    writes.ignore("the saga has ended", "a")
    writes.ignore("the saga has ended", "b")
    counts.committed(batch, 0.1)
    assert counts.ended == {"cancelled": 0, "completed": 1, "failed": 1, "terminated": 0}
    assert (counts.begun, counts.forged, counts.ignored, counts.batches, counts.turns) == (1, 1, 2, 1, 0)


@pytest.mark.parametrize("reason", ["forged: the answer's nonce is not ours", "forged: the parent's nonce is not ours"])
def test_the_words_for_a_forgery_are_those_that_processing_uses(reason: str) -> None:
    import inspect

    from orchestrator.engine import processing

    assert reason in inspect.getsource(processing)
    batch, counts = Batch(), Counts()
    batch.of(0).ignore(reason, "a")
    counts.committed(batch, 0.1)
    assert (counts.forged, counts.ignored) == (1, 0)
