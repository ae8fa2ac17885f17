"""docs/operations/metrics.md has exactly the metrics of the code, and every metric of the code is shown by a part."""

import re
from pathlib import Path

from orchestrator.monitoring import metrics
from orchestrator.monitoring.metrics import METRICS, Metric

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "operations" / "metrics.md"
ROW = re.compile(r"^\| `(amends_\w+)` \| (\w+) \|([^|]*)\| ([^|]*) \|[^|]*\|$", re.MULTILINE)
ROWS = [
    (name, kind, re.findall(r"`(\w+)`", labels), text) for name, kind, labels, text in ROW.findall(PAGE.read_text())
]


def test_the_page_has_exactly_these_metrics_with_their_types_labels_and_words() -> None:
    assert [(name, kind, labels) for name, kind, labels, _ in ROWS] == [
        (metric.name, metric.kind, list(metric.labels)) for metric in METRICS
    ]
    for (_, _, _, text), metric in zip(ROWS, METRICS, strict=True):
        assert text.startswith(metric.text), metric.name


def test_names_follow_the_conventions() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"amends_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert not re.search(r"_(ms|kb|mb|minutes)\b", metric.name), "base units"
        assert not set(metric.labels) & {"saga", "saga_id", "key", "le"}, "bounded, and not Prometheus' own"


def test_every_metric_is_shown_by_somebody() -> None:
    sources = "".join(
        path.read_text() for path in (ROOT / "orchestrator" / "monitoring").glob("*.py") if path.stem != "metrics"
    )
    constants = {name for name, value in vars(metrics).items() if isinstance(value, Metric)}
    assert {name for name in constants if not re.search(rf"\bmetrics\.{name}\b", sources)} == set()
