"""Bytes of an upload → a reading: decoded in the pool, judged by the batcher, timed and counted."""

import asyncio
import time
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.api.service import Service
from app.engine.answers import Answer
from app.engine.errors import DeviceFailed, EngineError
from app.engine.finding import Finding
from app.imaging import Doubt, Exposure, read
from app.telemetry import tracing


@dataclass(frozen=True, slots=True)
class Reading:
    """A film's finding, its own size in pixels, and the seconds of each stage."""

    finding: Finding
    width: int
    height: int
    decode_seconds: float
    queue_seconds: float
    inference_seconds: float


async def read_film(service: Service, data: bytes, *, owner: Hashable | None = None) -> Reading:
    """Decode and judge one film.

    Args:
        service: the service.
        data: a JPEG, PNG or DICOM file.
        owner: whose turn it is in the queue; the films of one request share it.

    Raises:
        ImagingError: it is not a readable radiograph.
        EngineError: it cannot be judged now.
    """
    started = time.perf_counter()
    with tracing.span("decode", bytes=len(data)):
        radiograph = await service.decoders.run(
            lambda: read(data, size=service.classifier.input_size, max_pixels=service.settings.max_pixels),
            owner=owner,
        )
        tracing.note(format=radiograph.format, width=radiograph.width, height=radiograph.height)
    decode_seconds = time.perf_counter() - started
    finding, answer = await judge(
        service, radiograph.pixels, radiograph.exposure, radiograph.doubts, owner=owner
    )
    service.metrics.stage_seconds.labels("decode").observe(decode_seconds)
    return Reading(
        finding=finding,
        width=radiograph.width,
        height=radiograph.height,
        decode_seconds=decode_seconds,
        queue_seconds=answer.queue_seconds,
        inference_seconds=answer.inference_seconds,
    )


async def judge(
    service: Service,
    pixels: npt.NDArray[np.uint8],
    exposure: Exposure,
    doubts: Iterable[Doubt] = (),
    *,
    owner: Hashable | None = None,
) -> tuple[Finding, Answer]:
    """What the model says of one decoded film, uint8 [S, S], counted in the metrics.

    Raises:
        EngineError: it cannot be judged now.
    """
    metrics = service.metrics
    answer = await _answer(service, pixels, owner)
    finding = service.classifier.finding(answer.outputs, exposure, doubts)
    metrics.stage_seconds.labels("queue").observe(answer.queue_seconds)
    metrics.stage_seconds.labels("inference").observe(answer.inference_seconds)
    metrics.predictions.labels(finding.label, str(finding.review).lower()).inc()
    metrics.probability.observe(finding.probability)
    if finding.novelty is not None:
        metrics.novelty.observe(finding.novelty)
    metrics.brightness.observe(exposure.brightness)
    return finding, answer


async def _answer(service: Service, pixels: npt.NDArray[np.uint8], owner: Hashable | None) -> Answer:
    """The batcher's answer. Its thread has measured two stages of the trace, which are told of afterwards."""
    classifier, submitted = service.classifier, time.perf_counter()
    try:
        answer = await service.batcher.submit(pixels, owner=owner)
    except (EngineError, asyncio.CancelledError) as error:
        tracing.past("inference" if isinstance(error, DeviceFailed) else "queue", submitted, error=error)
        raise
    tracing.past("queue", submitted, answer.queue_seconds)
    tracing.past(
        "inference",
        submitted + answer.queue_seconds,
        answer.inference_seconds,
        batch_size=answer.films,
        model_version=classifier.manifest.version,
        precision=classifier.precision,
        provider=classifier.provider.name,
    )
    return answer
