"""Pages of other origins that may call the service from a browser: none, but those that the settings name."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.callers import KEY_HEADER
from app.api.errors import EXPECTED, kind_of
from app.api.problems import answer_error
from app.api.tensors import JSON_LENGTH
from app.telemetry.metrics import Metrics


def install(app: FastAPI, origins: Sequence[str], metrics: Metrics) -> None:
    """Let pages of `origins` call `app`, with no cookies, since it has none.

    To be called behind the layers that refuse, which thereby lie inside: of a refusal without these headers, a
    page learns nothing but that something failed.
    """
    if not origins:
        return
    app.add_middleware(_Refusals, metrics=metrics)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=(KEY_HEADER, "X-Request-ID", "Content-Type", JSON_LENGTH),
        expose_headers=("X-Request-ID", "Retry-After", JSON_LENGTH),
    )


class _Refusals:
    """Answers what a layer inside refuses, so that the answer passes the layers outside."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except EXPECTED as error:
            if started:
                raise
            self._metrics.rejected.labels(kind_of(error).code).inc()
            await answer_error(error, scope)(scope, receive, send)
