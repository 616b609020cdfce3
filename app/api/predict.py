"""POST /predict and /predict/batch: films in, predictions out."""

import asyncio
import time
from collections.abc import Hashable

from fastapi import APIRouter, Request

from app.api.dependencies import Explain, Film, Films, ServiceOf
from app.api.errors import EXPECTED
from app.api.examples import BATCH, FILM_PROBLEMS, PREDICTION, UPLOAD_PROBLEMS, form, json_example, problems
from app.api.painting import overlay_uri
from app.api.problems import problem_of
from app.api.reading import Reading, read_film
from app.api.requests import unless_gone
from app.api.schemas import ModelBody, Prediction, Problem, ReasonBody, SubtypesBody, TimingBody
from app.api.service import Service
from app.telemetry import logs

router = APIRouter(tags=["films"])


@router.post(
    "/predict",
    summary="Judge one film",
    response_description="The model's probability, its label, and whether a person should look.",
    responses={
        200: json_example(PREDICTION),
        **problems(*UPLOAD_PROBLEMS, *FILM_PROBLEMS, "invalid-request"),
    },
    openapi_extra=form("file"),
)
async def predict(request: Request, service: ServiceOf, film: Film, explain: Explain = False) -> Prediction:
    """Read one chest film, JPEG or PNG, and answer with the probability of pneumonia.

    Whatever the answer, a reader decides: the service never calls a film healthy.
    """
    identifier = logs.request_id.get() or ""
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
    identifier = logs.request_id.get() or ""
    owner = object()
    # Never more of one request's films under way than fill the device, so that others' films find room.
    turns = asyncio.Semaphore(service.batcher.room)

    async def one(place: int, film: bytes) -> Prediction | Problem:
        async with turns:
            try:
                return await _predict(service, film, f"{identifier}-{place}", explain=explain, owner=owner)
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
    overlay = await overlay_uri(service, reading) if explain else None
    prediction = _prediction(service, reading, identifier, overlay)
    service.metrics.stage_seconds.labels("encode").observe(time.perf_counter() - started)
    return prediction


def _prediction(service: Service, reading: Reading, identifier: str, overlay: str | None) -> Prediction:
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
