"""POST /explain: the film with the heat map laid over it."""

import time

from fastapi import APIRouter, Request, Response

from app.api.dependencies import Film, ServiceOf
from app.api.errors import NoHeatmap
from app.api.examples import FILM_PROBLEMS, UPLOAD_PROBLEMS, form, problems
from app.api.painting import painted_film
from app.api.reading import read_film
from app.api.requests import unless_gone
from app.api.service import Service

router = APIRouter(tags=["films"])


@router.post(
    "/explain",
    summary="Show where the evidence lies",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
        **problems(*UPLOAD_PROBLEMS, *FILM_PROBLEMS, "no-heatmap"),
    },
    openapi_extra=form("file"),
)
async def explain(request: Request, service: ServiceOf, film: Film) -> Response:
    """The film, upright and at its own size, with the evidence for pneumonia painted over it, as a PNG."""
    if not service.classifier.has_heatmap:
        raise NoHeatmap("This model has no heat map, so there is nothing to lay over the film.")
    return Response(await unless_gone(request, _painted(service, film)), media_type="image/png")


async def _painted(service: Service, film: bytes) -> bytes:
    reading = await read_film(service, film)
    started = time.perf_counter()
    picture = await painted_film(service, film, reading)
    service.metrics.stage_seconds.labels("encode").observe(time.perf_counter() - started)
    return picture
