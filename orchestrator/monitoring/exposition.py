"""The text that Prometheus reads, made by prometheus-client from what the parts say at the moment of the scrape."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from orchestrator.monitoring import metrics
from orchestrator.monitoring.metrics import Distribution, Sample
from orchestrator.monitoring.parts import Part


class PartsCollector(Collector):
    """Reads the parts anew for each scrape: nothing is counted here, so nothing has to be kept in step."""

    def __init__(self, parts: Sequence[Part], is_ready: Callable[[], bool]) -> None:
        self._parts, self._is_ready = parts, is_ready

    def collect(self) -> Iterator[Metric]:
        found: dict[str, dict[tuple[str, ...], Sample | Distribution]] = {}
        found[metrics.READY.name] = {(): Sample(metrics.READY, float(self._is_ready()))}
        for part in list(self._parts):
            for sample in part.samples():
                labels = sample.labels if isinstance(sample, Sample) else ()
                # Two parts on one database see the same outbox: it is shown once.
                found.setdefault(sample.metric.name, {})[labels] = sample
        for metric in metrics.METRICS:
            if (samples := found.get(metric.name)) is not None:
                yield _family(metric, samples.values())


class Exposition:
    """Renders the parts, and the process's own CPU and memory where the system tells."""

    def __init__(self, parts: Sequence[Part], is_ready: Callable[[], bool]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(PartsCollector(parts, is_ready))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[str, bytes]:
        """(content type, body): Prometheus text 0.0.4, or what the Accept header prefers to that."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self._registry)


def _family(metric: metrics.Metric, samples: Iterable[Sample | Distribution]) -> Metric:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.text)
        for one in samples:
            assert isinstance(one, Distribution)
            histogram.add_metric([], _buckets(one), one.total)
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.text, labels=metric.labels)
    for one in samples:
        assert isinstance(one, Sample)
        family.add_metric(one.labels, one.value)
    return family


def _buckets(one: Distribution) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in one.bounds), "+Inf"]
    return list(zip(bounds, accumulate(one.counts), strict=True))
