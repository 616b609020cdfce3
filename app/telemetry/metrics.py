"""The Prometheus metrics, in a registry of their own for each application."""

from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.engine.finding import Label
from app.engine.manifest import Reference
from app.engine.signals import EDGES, SIGNALS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
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
        self.queue_limit = Gauge(
            "pneumoscope_queue_limit",
            "Most films that wait for the device, and most uploads at once.",
            registry=registry,
        )
        self.uploads = Gauge("pneumoscope_uploads", "Uploads under way.", registry=registry)
        self.expected_wait = Gauge(
            "pneumoscope_expected_wait_seconds",
            "Seconds that a film which came now would wait for the device.",
            registry=registry,
        )
        self.max_wait = Gauge(
            "pneumoscope_max_wait_seconds",
            "Longest expected wait, in seconds, that a film is taken at.",
            registry=registry,
        )
        self.ready = Gauge("pneumoscope_ready", "1 while new films are taken, else 0.", registry=registry)
        self.in_flight = Gauge("pneumoscope_in_flight", "Requests being answered.", registry=registry)
        self.rejected = Counter(
            "pneumoscope_rejected", "Problems answered, by their code.", ("reason",), registry=registry
        )
        self.predictions = Counter(
            "pneumoscope_predictions", "Films answered.", ("label", "review"), registry=registry
        )
        for label, review in product(get_args(Label), ("true", "false")):
            self.predictions.labels(label, review)  # from 0 on, so that the first film is an increase too
        self.probability = Histogram(
            "pneumoscope_probability",
            "Probability of pneumonia of the films answered.",
            buckets=EDGES["probability"],
            registry=registry,
        )
        self.novelty = Histogram(
            "pneumoscope_novelty",
            "Novelty of the films answered.",
            buckets=EDGES["novelty"],
            registry=registry,
        )
        self.brightness = Histogram(
            "pneumoscope_brightness",
            "Mean grey level, 0 to 255, of the films answered.",
            buckets=EDGES["brightness"],
            registry=registry,
        )
        self.model = Info("pneumoscope_model", "The model being served.", registry=registry)
        self.threshold = Gauge(
            "pneumoscope_threshold", "Probability from which a film is PNEUMONIA.", registry=registry
        )
        self.threshold_overridden = Gauge(
            "pneumoscope_threshold_overridden",
            "1 where a setting overrides the model's own threshold, else 0.",
            registry=registry,
        )
        self.provider_fell_back = Gauge(
            "pneumoscope_provider_fell_back",
            "1 where CUDA was tried, did not come up, and the CPU serves instead, else 0.",
            registry=registry,
        )
        self.reference = ReferenceCollector()
        registry.register(self.reference)

    def expect(self, *, reasons: Iterable[str], routes: Iterable[str], statuses: Iterable[int]) -> None:
        """Tell these from 0 on: a series that is born at 1 has no increase, so that no alert sees its first.

        Args:
            reasons: the codes of problems.
            routes: those that take films.
            statuses: what a film's request may be answered with on each of them.
        """
        for reason in reasons:
            self.rejected.labels(reason)
        for route, status in product(routes, statuses):
            self.request_seconds.labels(route, str(status))

    def watch(
        self,
        *,
        queue_depth: Callable[[], int],
        uploads: Callable[[], int],
        expected_wait: Callable[[], float],
        max_wait: Callable[[], float],
        ready: Callable[[], bool],
    ) -> None:
        """Read these gauges anew at every scrape."""
        self.queue_depth.set_function(queue_depth)
        self.uploads.set_function(uploads)
        self.expected_wait.set_function(expected_wait)
        self.max_wait.set_function(max_wait)
        self.ready.set_function(ready)

    def exposition(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)


class ReferenceCollector(Collector):
    """The reference of the model being served; families without a sample where it has none.

    A gauge of its own would say 0 then, which is a share like any other. `le` is written as in the histograms.
    """

    reference: Reference | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What `/metrics` shows of the reference."""
        films = GaugeMetricFamily(
            "pneumoscope_reference_films", "Films that the model's reference was measured on."
        )
        review = GaugeMetricFamily(
            "pneumoscope_reference_review_share", "Share of the reference's films that ask for review."
        )
        share = GaugeMetricFamily(
            "pneumoscope_reference_share",
            "Share of the reference's films whose signal lies at or below an edge.",
            labels=("signal", "le"),
        )
        if self.reference is not None:
            films.add_metric((), self.reference.films)
            review.add_metric((), self.reference.review_share)
            for signal in SIGNALS:
                spread = getattr(self.reference, signal)
                for edge, below in zip(spread.edges, spread.shares, strict=True) if spread else ():
                    share.add_metric((signal, str(edge)), below)
        yield from (films, review, share)
