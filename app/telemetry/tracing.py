"""Traces: a span for each request, and one for each stage of it. Costs next to nothing while no trace goes on.

A span holds numbers and words of our own, never what a client sent: no path, no file name, no tag, no exception's
message. That is why FastAPI's own spans, which hold the path and the query, are not used.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Protocol

from starlette.types import Scope
from structlog.contextvars import bound_contextvars

from app.telemetry import variables
from app.telemetry.variables import TracingRefused

Value = str | int | float
Attributes = Mapping[str, Value]

ASKED_ALL_DAY = frozenset(
    {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/metrics"}
)
"""Routes that probes and scrapes ask for: they leave no trace, and no line in the log unless it is detailed."""

UNMATCHED = "unmatched"
"""Stands for the route of a request that reached none."""


class Span(Protocol):
    """Something that takes time, as a part of a trace. Times are those of `time.perf_counter`."""

    @property
    def ids(self) -> Mapping[str, str]:
        """`trace_id` and `span_id` in hexadecimal."""

    @property
    def recorded(self) -> bool:
        """Whether the sampler took this trace."""

    def begin(self, name: str, attributes: Attributes, since: float | None = None) -> "Span":
        """A span inside this one, begun now or at `since`."""

    def note(self, attributes: Attributes) -> None:
        """Add attributes."""

    def answered(self, method: str, route: str, status: int) -> None:
        """Note how a request ended."""

    def end(self, error: BaseException | None = None, until: float | None = None) -> None:
        """It ended now or at `until`, perhaps by an exception, of which only the type is told."""


class Tracing(Protocol):
    """Begins the traces of one application, and sends them."""

    def start(self) -> None:
        """Have spans sent in the background from now on; before, they are dropped."""

    def stop(self, timeout: float) -> None:
        """Send what is left; blocks for at most `timeout` seconds."""

    def request(self, scope: Scope, request_id: str) -> Span | None:
        """Begin a request's span, in the caller's trace if it names one; None where none is wanted."""


_current: ContextVar[Span | None] = ContextVar("span", default=None)


def open_tracing() -> Tracing | None:
    """What OpenTelemetry's variables ask for, not started; None where they name no collector or switch traces off.

    Raises:
        TracingRefused: they ask for something that is not there.
    """
    if not variables.wanted():
        return None
    try:
        # Not before they are wanted: the SDK comes with an extra, and takes time and memory.
        from app.telemetry.otlp import OtlpTracing  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise TracingRefused(
            f"traces are asked for by OTEL_…, but {error.name} is missing; install the extra `tracing`: "
            "pip install 'pneumoscope[tracing]'"
        ) from error
    return OtlpTracing.by_variables()


def destination() -> str:
    """Where traces would be sent, in words for people.

    Raises:
        TracingRefused: as `open_tracing` does.
    """
    return "off" if open_tracing() is None else f"sent to {variables.collector()} by {variables.HTTP}"


@asynccontextmanager
async def sending(tracing: Tracing | None, last_seconds: float) -> AsyncIterator[None]:
    """Have spans sent as long as this lasts. At the end what is left has `last_seconds`."""
    if tracing is None:
        yield
        return
    tracing.start()
    try:
        yield
    finally:
        await asyncio.to_thread(tracing.stop, last_seconds)


@contextmanager
def request(tracing: Tracing | None, scope: Scope, request_id: str) -> Iterator[None]:
    """The span of one request. Its ids stand in each line that is logged inside."""
    begun = None if tracing is None else tracing.request(scope, request_id)
    if begun is None:
        yield
    else:
        with _inside(begun):
            yield


@contextmanager
def span(name: str, **attributes: Value) -> Iterator[None]:
    """A stage of the request being answered, as long as this lasts."""
    current = _recorded()
    if current is None:
        yield
    else:
        with _inside(current.begin(name, attributes)):
            yield


def past(
    name: str,
    since: float,
    seconds: float | None = None,
    *,
    error: BaseException | None = None,
    **attributes: Value,
) -> None:
    """A stage that was measured elsewhere: from `since`, by `time.perf_counter`, for so long, or until now."""
    current = _recorded()
    if current is not None:
        stage = current.begin(name, attributes, since)
        stage.end(error, None if seconds is None else since + seconds)


def note(**attributes: Value) -> None:
    """Add to what the span that goes on tells."""
    current = _recorded()
    if current is not None:
        current.note(attributes)


def answered(method: str, route: str, status: int) -> None:
    """Note by which route, a template, and with what status the request being answered ends."""
    current = _recorded()
    if current is not None:
        current.answered(method, route, status)


def _recorded() -> Span | None:
    current = _current.get()
    return current if current is not None and current.recorded else None


@contextmanager
def _inside(begun: Span) -> Iterator[None]:
    token = _current.set(begun)
    error: BaseException | None = None
    try:
        with bound_contextvars(**begun.ids):
            yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        _current.reset(token)
        begun.end(error)
