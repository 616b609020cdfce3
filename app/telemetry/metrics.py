"""The Prometheus metrics, in a registry of their own for each application."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TWENTIETHS = tuple(twentieth / 20 for twentieth in range(1, 20))
_NOVELTY = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_POWERS_OF_TWO = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Everything that `/metrics` shows; docs/settings.md explains each."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.request_seconds = Histogram(
            "pneumoscope_request_seconds",
            "Seconds from a request's headers to the end of its answer.",
            ("route", "status"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "pneumoscope_stage_seconds",
            "Seconds a film spends in one stage.",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_size = Histogram(
            "pneumoscope_batch_size",
            "Films in one run of the session.",
            buckets=_POWERS_OF_TWO,
            registry=registry,
        )
        self.queue_depth = Gauge(
            "pneumoscope_queue_depth", "Films that wait for the device.", registry=registry
        )
        self.expected_wait = Gauge(
            "pneumoscope_expected_wait_seconds",
            "Seconds that a film which came now would wait for the device.",
            registry=registry,
        )
        self.in_flight = Gauge("pneumoscope_in_flight", "Requests being answered.", registry=registry)
        self.rejected = Counter(
            "pneumoscope_rejected", "Problems answered, by their code.", ("reason",), registry=registry
        )
        self.predictions = Counter(
            "pneumoscope_predictions", "Films answered.", ("label", "review"), registry=registry
        )
        self.probability = Histogram(
            "pneumoscope_probability",
            "Probability of pneumonia of the films answered.",
            buckets=_TWENTIETHS,
            registry=registry,
        )
        self.novelty = Histogram(
            "pneumoscope_novelty", "Novelty of the films answered.", buckets=_NOVELTY, registry=registry
        )
        self.model = Info("pneumoscope_model", "The model being served.", registry=registry)

    def watch_queue(self, depth: Callable[[], int], expected_wait: Callable[[], float]) -> None:
        """Read `queue_depth` and `expected_wait` from these at every scrape."""
        self.queue_depth.set_function(depth)
        self.expected_wait.set_function(expected_wait)

    def exposition(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)
