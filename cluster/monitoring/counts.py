"""Counting: cheap where it happens, handed on in plain values, summed in one place, shown as Prometheus reads it.

It costs an accepted call 3 µs; a JSON line would cost 65, so there is none. Ray's own metrics would be ten seconds
late, open to whoever reaches the port, one target for each node, and gone with short-lived workers.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import Metric as Family
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from cluster.monitoring.metrics import METRICS, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Gauge = tuple[Metric, tuple[str, ...], float]
Wire = list[Any]
"""[[name, [label, …], [figure, …]], …]: of a counter its sum, of a histogram its buckets, each alone, and its sum."""


class Counts:
    """Counters and histograms of one process; every method may be called by any thread.

    Not the client library's own: those cannot be added up across processes that come and go.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._figures: dict[tuple[str, tuple[str, ...]], list[float]] = {}

    def add(self, metric: Metric, *labels: str, amount: float = 1.0) -> None:
        """Count `amount` more."""
        with self._lock:
            self._of(metric, labels)[0] += amount

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Put `value` into its bucket."""
        with self._lock:
            figures = self._of(metric, labels)
            figures[bisect_left(metric.bounds, value)] += 1
            figures[-1] += value

    def taken(self) -> Wire:
        """What was counted since the last call, to be handed on."""
        with self._lock:
            figures, self._figures = self._figures, {}
        return _wire(figures)

    def so_far(self) -> Wire:
        """Everything that was counted."""
        with self._lock:
            return _wire(self._figures)

    def merge(self, counted: Wire) -> None:
        """Add what another process counted; what this version does not know is left out."""
        with self._lock:
            for name, labels, figures in counted:
                metric = METRICS.get(name)
                if metric is None or len(labels) != len(metric.labels) or len(figures) != _length(metric):
                    continue
                mine = self._of(metric, tuple(labels))
                mine[:] = [a + b for a, b in zip(mine, figures, strict=True)]

    def _of(self, metric: Metric, labels: tuple[str, ...]) -> list[float]:
        key = (metric.name, labels)
        figures = self._figures.get(key)
        if figures is None:
            figures = self._figures[key] = [0.0] * _length(metric)
        return figures


def _length(metric: Metric) -> int:
    return len(metric.bounds) + 2 if metric.kind == "histogram" else 1


def _wire(figures: dict[tuple[str, tuple[str, ...]], list[float]]) -> Wire:
    return [[name, list(labels), list(values)] for (name, labels), values in figures.items()]


def exposition(gauges: Iterable[Gauge], counted: Wire | None) -> bytes:
    """The text that Prometheus scrapes; `counted` None leaves counters out, [] shows those without labels as 0."""
    return generate_latest(_Shown(list(gauges), counted))


class _Shown(Collector):
    def __init__(self, gauges: list[Gauge], counted: Wire | None) -> None:
        self._gauges = gauges
        self._counted = counted

    def collect(self) -> Iterator[Family]:
        families: dict[str, Any] = {}
        for metric, labels, value in self._gauges:
            family = families.setdefault(metric.name, GaugeMetricFamily(metric.name, metric.help, labels=metric.labels))
            family.add_metric(labels, value)
        if self._counted is not None:
            for name, labels, figures in [*_zeros(self._counted), *self._counted]:
                metric = METRICS[name]
                family = families.setdefault(name, _family(metric))
                if metric.kind == "counter":
                    family.add_metric(labels, figures[0])
                else:
                    family.add_metric(labels, _cumulative(metric, figures), figures[-1])
        yield from families.values()


def _zeros(counted: Wire) -> list[Any]:
    """A counter that is first seen at 1 has not risen, as Prometheus sees it: those without labels begin at 0."""
    seen = {name for name, _, _ in counted}
    return [
        [m.name, [], [0.0]] for m in METRICS.values() if m.kind == "counter" and not m.labels and m.name not in seen
    ]


def _family(metric: Metric) -> Any:
    cls = CounterMetricFamily if metric.kind == "counter" else HistogramMetricFamily
    return cls(metric.name, metric.help, labels=metric.labels)


def _cumulative(metric: Metric, figures: list[float]) -> list[tuple[str, float]]:
    total, buckets = 0.0, []
    for bound, count in zip([*metric.bounds, float("inf")], figures, strict=False):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), total))
    return buckets
