"""POST /explain: the film with the heat map laid over it."""

import time

from fastapi import APIRouter, Request, Response

from app.api.dependencies import Film, ServiceOf
from app.api.dicom_results import capture_of
from app.api.errors import NoHeatmap
from app.api.examples import DICOM_PROBLEMS, FILM_PROBLEMS, UPLOAD_PROBLEMS, form, or_dicom, problems
from app.api.negotiation import DICOM, VARY, prefers_dicom
from app.api.painting import painted_film
from app.api.reading import read_film
from app.api.requests import unless_gone
from app.api.service import Service
from app.telemetry import tracing

PNG = "image/png"

router = APIRouter(tags=["films"])


@router.post(
    "/explain",
    summary="Show where the evidence lies",
    response_class=Response,
    responses={
        200: {
            "content": {
                PNG: {"schema": {"type": "string", "format": "binary"}},
                **or_dicom("A secondary capture of the painted film, of a DICOM film."),
            }
        },
        **problems(*UPLOAD_PROBLEMS, *FILM_PROBLEMS, *DICOM_PROBLEMS, "no-heatmap"),
    },
    openapi_extra=form("file"),
)
async def explain(request: Request, service: ServiceOf, film: Film) -> Response:
    """The film, upright and at its own size, with the evidence for pneumonia painted over it, as a PNG.

    With `Accept: application/dicom`, of a DICOM film: as a secondary capture in the film's own study.
    """
    if not service.classifier.has_heatmap:
        raise NoHeatmap("This model has no heat map, so there is nothing to lay over the film.")
    if prefers_dicom(request, over=PNG):
        capture = await unless_gone(request, capture_of(service, film))
        return Response(capture, media_type=DICOM, headers=VARY)
    return Response(await unless_gone(request, _painted(service, film)), media_type=PNG, headers=VARY)


async def _painted(service: Service, film: bytes) -> bytes:
    reading = await read_film(service, film)
    started = time.perf_counter()
    with tracing.span("encode"):
        picture = await painted_film(service, film, reading)
    service.metrics.stage_seconds.labels("encode").observe(time.perf_counter() - started)
    return picture
