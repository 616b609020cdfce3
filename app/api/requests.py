"""What every request gets: an id, a line in the log, its place in the metrics, safe headers, an answer."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import EXPECTED, ClientGone, kind_of
from app.api.problems import PROBLEM, answer_error
from app.engine.errors import Stopped
from app.telemetry import logs, tracing
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import ASKED_ALL_DAY, UNMATCHED, Tracing

Result = TypeVar("Result")

SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Frame-Options": "DENY",
    "X-Permitted-Cross-Domain-Policies": "none",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""Set on every answer that does not set them itself."""

_RAW_SAFE_HEADERS = [(name.lower().encode(), value.encode()) for name, value in SAFE_HEADERS.items()]

_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ASSETS = "assets"

log = logging.getLogger("app.requests")


class RequestRecorder:
    """The outermost layer: whatever happens inside, the client gets an answer and the operator a record."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, tracing: Tracing | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wished = Headers(scope=scope).get("x-request-id", "")
        request_id = wished if _WELL_FORMED_ID.fullmatch(wished) else uuid.uuid4().hex
        with logs.of_request(request_id), tracing.request(self._tracing, scope, request_id):
            await self._answer(scope, receive, send, request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started = time.perf_counter()
        status = 0
        seconds: float | None = None

        def count() -> None:
            nonlocal seconds
            if seconds is None:
                seconds = time.perf_counter() - started
                self._metrics.in_flight.dec()
                self._metrics.request_seconds.labels(_route(scope, status), str(status)).observe(seconds)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message["headers"])
                given = {name for name, _ in headers}
                headers += [header for header in _RAW_SAFE_HEADERS if header[0] not in given]
                headers.append((b"x-request-id", request_id.encode()))
                message = {**message, "headers": headers}
            elif not message.get("more_body", False):
                count()  # before the end is sent: who has the answer finds it in the metrics
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, send_with_headers)
        except (Exception, asyncio.CancelledError) as raised:
            error = _told(raised)
            if not isinstance(error, EXPECTED):
                log.exception("an unexpected exception")
            if status:
                raise
            self._metrics.rejected.labels(kind_of(error).code).inc()
            await answer_error(error, scope)(scope, receive, send_with_headers)
        finally:
            count()
            method, route = scope["method"], _route(scope, status)
            tracing.answered(method, route, status)
            fields = {"method": method, "route": route, "status": status, "seconds": round(seconds or 0.0, 6)}
            if caller := getattr(scope.get("caller"), "name", None):
                fields["caller"] = caller
            if code := scope.get(PROBLEM):
                fields["code"] = code
            in_detail = route in ASKED_ALL_DAY and status < 400
            log.log(logging.DEBUG if in_detail else logging.INFO, "answered", extra={logs.FIELDS: fields})


def _route(scope: Scope, status: int) -> str:
    """The route's template, never the raw path: a path is the client's text."""
    route: str = getattr(scope.get("route"), "path", _ASSETS if 200 <= status < 400 else UNMATCHED)
    return route


def _told(raised: Exception | asyncio.CancelledError) -> Exception:
    """What to tell the client; the server cancels what it cannot finish in time when it stops."""
    if isinstance(raised, asyncio.CancelledError):
        return Stopped("The service stopped before this was answered.")
    return raised


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, which is cancelled if the client goes away first.

    Raises:
        ClientGone: the client went away.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone("The client went away before its answer was ready.")
    finally:
        working.cancel()
        watching.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue
