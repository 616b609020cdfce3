"""POST /predict and /predict/batch: films in, predictions out."""

import asyncio
import time
from collections.abc import Hashable

from fastapi import APIRouter, Request, Response

from app.api.dependencies import Explain, Film, Films, ServiceOf
from app.api.dicom_results import report_of
from app.api.errors import EXPECTED
from app.api.examples import (
    BATCH,
    BELOW_THRESHOLD,
    DICOM_PROBLEMS,
    FILM_PROBLEMS,
    FOR_REVIEW,
    PREDICTION,
    UPLOAD_PROBLEMS,
    WITH_HEAT_MAP,
    form,
    json_example,
    json_examples,
    or_dicom,
    problems,
)
from app.api.negotiation import DICOM, VARY, prefers_dicom
from app.api.painting import overlay_uri
from app.api.problems import problem_of
from app.api.reading import Reading, read_film
from app.api.requests import unless_gone
from app.api.schemas import ModelBody, Prediction, Problem, ReasonBody, SubtypesBody, TimingBody
from app.api.service import Service
from app.telemetry import logs, tracing

router = APIRouter(tags=["films"])


@router.post(
    "/predict",
    summary="Judge one film",
    response_description="The model's probability, its label, and whether a person should look.",
    response_model=Prediction,
    responses={
        200: {
            "content": {
                **json_examples(
                    above_the_threshold=PREDICTION,
                    below_the_threshold=BELOW_THRESHOLD,
                    for_review=FOR_REVIEW,
                    with_the_heat_map=WITH_HEAT_MAP,
                )["content"],
                **or_dicom("A structured report by TID 1500, of a DICOM film."),
            }
        },
        **problems(*UPLOAD_PROBLEMS, *FILM_PROBLEMS, *DICOM_PROBLEMS, "invalid-request"),
    },
    openapi_extra=form("file"),
)
async def predict(
    request: Request, response: Response, service: ServiceOf, film: Film, explain: Explain = False
) -> Prediction | Response:
    """Read one chest film, JPEG, PNG or DICOM, and answer with the probability of pneumonia.

    Whatever the answer, a reader decides: the service never calls a film healthy. With
    `Accept: application/dicom`, of a DICOM film: a structured report in the film's own study.
    """
    if prefers_dicom(request, over="application/json"):
        report = await unless_gone(request, report_of(service, film))
        return Response(report, media_type=DICOM, headers=VARY)
    response.headers.update(VARY)
    identifier = logs.request_id()
    return await unless_gone(request, _predict(service, film, identifier, explain=explain))


@router.post(
    "/predict/batch",
    summary="Judge many films",
    response_description="One item a film, in order: its prediction, or its own problem.",
    responses={200: json_example(BATCH), **problems(*UPLOAD_PROBLEMS, "invalid-request")},
    openapi_extra=form("files", many=True),
)
async def predict_batch(
    request: Request, service: ServiceOf, films: Films, explain: Explain = False
) -> list[Prediction | Problem]:
    """Read many chest films. One that cannot be judged does not spoil the others."""
    root_path: str = request.scope.get("root_path", "")
    identifier = logs.request_id()
    owner = object()
    # Never more of one request's films under way than fill the device, so that others' films find room.
    turns = asyncio.Semaphore(service.batcher.room)

    async def one(place: int, film: bytes) -> Prediction | Problem:
        async with turns:
            with tracing.span("film", place=place):
                try:
                    return await _predict(
                        service, film, f"{identifier}-{place}", explain=explain, owner=owner
                    )
                except EXPECTED as error:
                    document = problem_of(error, root_path=root_path)
                    service.metrics.rejected.labels(document.code).inc()
                    return document

    async def all_of_them() -> list[Prediction | Problem]:
        return await asyncio.gather(*(one(place, film) for place, film in enumerate(films)))

    return await unless_gone(request, all_of_them())


async def _predict(
    service: Service, film: bytes, identifier: str, *, explain: bool, owner: Hashable | None = None
) -> Prediction:
    reading = await read_film(service, film, owner=owner)
    started = time.perf_counter()
    with tracing.span("encode"):
        overlay = await overlay_uri(service, reading) if explain else None
        prediction = prediction_of(service, reading, identifier, overlay)
    service.metrics.stage_seconds.labels("encode").observe(time.perf_counter() - started)
    return prediction


def prediction_of(
    service: Service, reading: Reading, identifier: str, overlay: str | None = None
) -> Prediction:
    """The answer for one film that has been read."""
    finding, classifier = reading.finding, service.classifier
    subtypes = finding.subtypes
    return Prediction(
        id=identifier,
        label=finding.label,
        probability=finding.probability,
        threshold=finding.threshold,
        threshold_overridden=finding.threshold_overridden,
        subtypes=subtypes and SubtypesBody(bacterial=subtypes.bacterial, viral=subtypes.viral),
        review=finding.review,
        reasons=[ReasonBody(code=reason.code, words=reason.words) for reason in finding.reasons],
        model=ModelBody(
            name=classifier.manifest.name, version=classifier.manifest.version, sha256=classifier.sha256
        ),
        timing_ms=TimingBody(
            decode=_milliseconds(reading.decode_seconds),
            queue=_milliseconds(reading.queue_seconds),
            inference=_milliseconds(reading.inference_seconds),
        ),
        overlay=overlay,
    )


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
