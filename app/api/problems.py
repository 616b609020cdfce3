"""Exceptions → RFC 9457 problem documents, for our own and for what the framework finds."""

import logging
from typing import cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from app.api.errors import (
    EXPECTED,
    INVALID_REQUEST,
    Draining,
    Kind,
    detail_of,
    kind_of,
    kind_of_status,
    retry_after,
)
from app.api.schemas import FieldFault, Problem
from app.engine.errors import Warming
from app.telemetry import logs, tracing
from app.telemetry.metrics import Metrics

MEDIA_TYPE = "application/problem+json"
OPEN_INFERENCE = "/v2"

PROBLEM = "problem"
"""Key of a request's scope under which the code of the problem stands that it was answered with."""

_OF_EVERY_DAY = (Draining, Warming)
"""Starts and stops that go well are answered with these too: no error of the service's."""

log = logging.getLogger(__name__)


def problem(
    kind: Kind, detail: str, *, root_path: str = "", errors: list[FieldFault] | None = None
) -> Problem:
    """The problem document of one occurrence of `kind`."""
    tracing.note(problem=kind.code)
    return Problem(
        type=f"{root_path}/problems/{kind.code}",
        code=kind.code,
        title=kind.title,
        status=kind.status,
        detail=detail,
        request_id=logs.request_id(),
        errors=errors,
    )


def problem_of(error: Exception, *, root_path: str = "") -> Problem:
    """The problem document of an exception."""
    kind = kind_of(error)
    return problem(kind, detail_of(error, kind), root_path=root_path)


def root_path_of(scope: Scope) -> str:
    """The path that a proxy puts before ours. Inside a mount, `root_path` has the mount's own path at its end."""
    path: str = scope.get("app_root_path", scope.get("root_path", ""))
    return path


def answer(document: Problem, scope: Scope, headers: dict[str, str] | None = None) -> Response:
    """A problem document as an HTTP answer; under /v2 its detail alone, as the Open Inference Protocol asks."""
    scope[PROBLEM] = document.code
    path = scope["path"].removeprefix(root_path_of(scope))
    if path == OPEN_INFERENCE or path.startswith(f"{OPEN_INFERENCE}/"):
        return JSONResponse({"error": document.detail}, status_code=document.status, headers=headers)
    return Response(
        document.model_dump_json(exclude_none=True),
        status_code=document.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def answer_error(error: Exception, scope: Scope) -> Response:
    """The HTTP answer of an exception that is in the table, or of one that nobody expected."""
    kind = kind_of(error)
    seconds = retry_after(error, kind)
    headers = {} if seconds is None else {"Retry-After": str(seconds)}
    if kind.status == 401:
        headers["WWW-Authenticate"] = "X-API-Key"
    return answer(problem_of(error, root_path=root_path_of(scope)), scope, headers)


def install(app: FastAPI, metrics: Metrics) -> None:
    """Make `app` answer every expected exception with its problem document."""

    async def expected(request: Request, error: Exception) -> Response:
        kind = kind_of(error)
        metrics.rejected.labels(kind.code).inc()
        if kind.status >= 500:
            level = logging.INFO if isinstance(error, _OF_EVERY_DAY) else logging.ERROR
            log.log(level, "answered with a problem: %s", error, extra={logs.FIELDS: {"code": kind.code}})
        return answer_error(error, request.scope)

    async def by_framework(request: Request, error: Exception) -> Response:
        kind = kind_of_status(getattr(error, "status_code", 500))
        metrics.rejected.labels(kind.code).inc()
        document = problem(kind, kind.advice, root_path=root_path_of(request.scope))
        return answer(document, request.scope, dict(getattr(error, "headers", None) or {}))

    async def invalid(request: Request, error: Exception) -> Response:
        metrics.rejected.labels(INVALID_REQUEST.code).inc()
        # Each item also has the offending input, which may be anything: it is not repeated.
        faults = [
            FieldFault(where=".".join(str(part) for part in item["loc"]), message=item["msg"])
            for item in cast("RequestValidationError", error).errors()
        ]
        root_path = root_path_of(request.scope)
        document = problem(INVALID_REQUEST, INVALID_REQUEST.advice, root_path=root_path, errors=faults)
        return answer(document, request.scope)

    for family in EXPECTED:
        app.add_exception_handler(family, expected)
    app.add_exception_handler(HTTPException, by_framework)
    app.add_exception_handler(RequestValidationError, invalid)
