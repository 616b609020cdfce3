"""Bytes of an upload → a reading: decoded in the pool, judged by the batcher, timed and counted."""

import asyncio
import time
from dataclasses import dataclass

from app.api.service import Service
from app.engine.finding import Finding
from app.imaging import read


@dataclass(frozen=True, slots=True)
class Reading:
    """A film's finding, its own size in pixels, and the seconds of each stage."""

    finding: Finding
    width: int
    height: int
    decode_seconds: float
    queue_seconds: float
    inference_seconds: float


async def read_film(service: Service, data: bytes) -> Reading:
    """Decode and judge one film.

    Raises:
        ImagingError: it is not a readable radiograph.
        EngineError: it cannot be judged now.
    """
    metrics = service.metrics
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    radiograph = await loop.run_in_executor(
        service.decoders,
        lambda: read(data, size=service.classifier.input_size, max_pixels=service.settings.max_pixels),
    )
    decode_seconds = time.perf_counter() - started
    answer = await service.batcher.submit(radiograph)
    metrics.stage_seconds.labels("decode").observe(decode_seconds)
    metrics.stage_seconds.labels("queue").observe(answer.queue_seconds)
    metrics.stage_seconds.labels("inference").observe(answer.inference_seconds)
    finding = answer.finding
    metrics.predictions.labels(finding.label, str(finding.review).lower()).inc()
    metrics.probability.observe(finding.probability)
    if finding.novelty is not None:
        metrics.novelty.observe(finding.novelty)
    return Reading(
        finding=finding,
        width=radiograph.width,
        height=radiograph.height,
        decode_seconds=decode_seconds,
        queue_seconds=answer.queue_seconds,
        inference_seconds=answer.inference_seconds,
    )
