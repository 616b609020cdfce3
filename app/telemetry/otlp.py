"""Traces by OpenTelemetry's SDK, sent to a collector by OTLP over HTTP; the standard variables say where and how.

Imported only where traces are wanted: the SDK comes with the extra `tracing`.
"""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import Scope

from app import __version__
from app.telemetry.tracing import ASKED_ALL_DAY, UNMATCHED, Attributes
from app.telemetry.variables import TracingRefused

_OURS = "pneumoscope"
_ROUTE, _STATUS = "http.route", "http.response.status_code"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OtlpSpan:
    """A `tracing.Span`.

    One reading of the wall clock serves a whole trace: its times stay in order when the clock is set.
    """

    tracer: trace.Tracer
    span: trace.Span
    epoch_ns: int
    """Unix time when `time.perf_counter` was 0, in nanoseconds."""

    @property
    def ids(self) -> Mapping[str, str]:
        """`trace_id` and `span_id` in hexadecimal."""
        context = self.span.get_span_context()
        return {
            "trace_id": trace.format_trace_id(context.trace_id),
            "span_id": trace.format_span_id(context.span_id),
        }

    @property
    def recorded(self) -> bool:
        """Whether the sampler took this trace."""
        return self.span.is_recording()

    def begin(self, name: str, attributes: Attributes, since: float | None = None) -> Self:
        """A span inside this one, begun now or at `since`."""
        child = self.tracer.start_span(
            name,
            trace.set_span_in_context(self.span, Context()),
            start_time=self._unix_ns(since),
            attributes=_named(attributes),
        )
        return type(self)(self.tracer, child, self.epoch_ns)

    def note(self, attributes: Attributes) -> None:
        """Add attributes."""
        self.span.set_attributes(_named(attributes))

    def answered(self, method: str, route: str, status: int) -> None:
        """Note how a request ended, by the semantic conventions for HTTP servers."""
        self.span.update_name(f"{method} {route}")
        self.span.set_attribute(_ROUTE, route)
        self.span.set_attribute(_STATUS, status)
        if status >= 500:
            self.span.set_status(trace.StatusCode.ERROR)

    def end(self, error: BaseException | None = None, until: float | None = None) -> None:
        """It ended now or at `until`, perhaps by an exception, of which only the type is told."""
        if error is not None:
            self.span.set_attribute("error.type", type(error).__name__)
            self.span.set_status(trace.StatusCode.ERROR)
        self.span.end(self._unix_ns(until))

    def _unix_ns(self, moment: float | None) -> int:
        """A moment by `time.perf_counter`, by default now, in nanoseconds since 1970."""
        passed = time.perf_counter() if moment is None else moment
        return self.epoch_ns + round(passed * 1e9)


class _Sender(BatchSpanProcessor):
    """Sends spans in batches, but none of a request for what is not there: anybody can make many of these."""

    def on_end(self, span: ReadableSpan) -> None:
        """Have the span sent with others, if it is to be sent."""
        told = span.attributes or {}
        if (told.get(_ROUTE), told.get(_STATUS)) != (UNMATCHED, HTTPStatus.NOT_FOUND):
            super().on_end(span)


class OtlpTracing:
    """A `tracing.Tracing`. It is started once at most."""

    def __init__(self, provider: TracerProvider, exporter: OTLPSpanExporter) -> None:
        self._provider = provider
        self._exporter = exporter
        self._tracer = provider.get_tracer(_OURS, __version__)

    @classmethod
    def by_variables(cls) -> Self:
        """As OpenTelemetry's variables say, which the SDK reads itself.

        Raises:
            TracingRefused: the SDK does not take them.
        """
        own = {"service.name": _OURS, "service.version": __version__}
        try:
            resource = Resource.create({**own, **OTELResourceDetector().detect().attributes})
            return cls(TracerProvider(resource=resource, shutdown_on_exit=False), OTLPSpanExporter())
        except (ValueError, RuntimeError) as error:
            raise TracingRefused(f"a variable of OpenTelemetry: {error}") from error

    def start(self) -> None:
        """Have spans sent by a thread of its own."""
        self._provider.add_span_processor(_Sender(self._exporter))

    def stop(self, timeout: float) -> None:
        """Send what is left; blocks for at most `timeout` seconds."""
        ending = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        ending.start()
        ending.join(timeout)
        if ending.is_alive():
            log.warning("the last traces were not taken within %g s", timeout)

    def request(self, scope: Scope, request_id: str) -> OtlpSpan | None:
        """Begin a request's span, in the caller's trace if it names one; none for what is asked all day long."""
        if scope["path"].removeprefix(scope.get("root_path", "")) in ASKED_ALL_DAY:
            return None
        # `tracestate` and `baggage` may hold any text: they are not taken over.
        carrier = {"traceparent": Headers(scope=scope).get("traceparent", "")}
        epoch_ns = time.time_ns() - time.perf_counter_ns()
        span = self._tracer.start_span(
            scope["method"],
            TraceContextTextMapPropagator().extract(carrier, Context()),
            trace.SpanKind.SERVER,
            {"http.request.method": scope["method"], **_named({"request_id": request_id})},
            start_time=epoch_ns + time.perf_counter_ns(),
        )
        return OtlpSpan(self._tracer, span, epoch_ns)


def _named(attributes: Attributes) -> dict[str, str | int | float]:
    return {f"{_OURS}.{name}": value for name, value in attributes.items()}
