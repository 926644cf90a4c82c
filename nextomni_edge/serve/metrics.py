"""What a server counts, for Prometheus. Nothing is sent anywhere: `/metrics` is read."""

from __future__ import annotations

import time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from nextomni_edge.api.step import Generation

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        ProcessCollector(registry=own)
        self.requests = Counter(
            "nextomni_requests", "Requests by route and status.", ("route", "status"), registry=own
        )
        self.latency = Histogram(
            "nextomni_request_seconds", "Whole requests.", ("route",), registry=own, buckets=SECONDS
        )
        self.waiting = Gauge("nextomni_queue", "Answers that wait.", registry=own)
        self.batch = Histogram(
            "nextomni_batch",
            "Answers computed together.",
            registry=own,
            buckets=(1, 2, 4, 8, 16, 32),
        )
        self.answers = Counter("nextomni_answers", "Finished answers.", ("modality",), registry=own)
        self.forwards = Counter("nextomni_forwards", "Forwards of the backbone.", registry=own)
        self.busy = Counter("nextomni_busy_seconds", "Seconds of computation.", registry=own)
        self.cancelled = Counter("nextomni_cancelled", "Answers whose client left.", registry=own)
        self.step_seconds: dict[str, float] = {}  # the latest by modality, for the page's sliders

    def computed(self, kind: str, jobs: int, generation: Generation, began: float) -> None:
        """A batch of this many answers is done."""
        seconds = time.perf_counter() - began
        self.answers.labels(kind).inc(jobs)
        self.forwards.inc(generation.meter.forwards)
        self.busy.inc(seconds)
        if generation.meter.forwards:
            self.step_seconds[kind] = seconds / generation.meter.forwards

    def text(self) -> bytes:
        """What `/metrics` answers."""
        return generate_latest(self.registry)
