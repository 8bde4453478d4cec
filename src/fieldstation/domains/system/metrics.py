"""Counts requests for Prometheus, and for the people who look at the system page."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from fieldstation.core.clock import Clock
from fieldstation.web.middleware import Observed

WINDOW_S = 60
LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

Reading = tuple[str, str, str, float]
"""kind (``counter`` or ``gauge``), name, help, value"""


class RequestMetrics:
    """Requests by method, route template and status; labels never hold a raw path."""

    def __init__(self, clock: Clock, read: Callable[[], Iterable[Reading]]) -> None:
        self._clock = clock
        self._seconds: deque[tuple[int, int]] = deque(maxlen=WINDOW_S + 1)
        self._children: dict[tuple[str, str, int], tuple[Any, Any]] = {}
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "rover_api_requests",
            "Requests answered.",
            ["method", "endpoint", "status"],
            registry=self.registry,
        )
        self._duration = Histogram(
            "rover_api_request_duration_seconds",
            "Time from the first byte to the last of an answer.",
            ["method", "endpoint"],
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.registry.register(StationCollector(read))

    def observe(self, request: Observed) -> None:
        """Count one answered request."""
        key = (request.method, request.route, request.status)
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = (
                self._requests.labels(request.method, request.route, str(request.status)),
                self._duration.labels(request.method, request.route),
            )
        children[0].inc()
        children[1].observe(request.elapsed_s)
        second = int(self._clock.monotonic())
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1] = (second, self._seconds[-1][1] + 1)
        else:
            self._seconds.append((second, 1))

    def requests_per_minute(self) -> int:
        """Return the requests of the last sixty seconds."""
        oldest = int(self._clock.monotonic()) - WINDOW_S
        return sum(count for second, count in self._seconds if second > oldest)

    def exposition(self) -> bytes:
        """Return the Prometheus text format."""
        return generate_latest(self.registry)


class StationCollector(Collector):
    """Reads the station's own numbers when Prometheus asks."""

    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        for kind, name, explanation, value in self._read():
            family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            yield family(name, explanation, value=value)
