"""Films on disk → predictions, through the same decoders, batcher and model as requests to the service."""

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.api.errors import EXPECTED, INTERNAL, BodyTooLarge, Kind, detail_of, kind_of
from app.api.painting import painted_film
from app.api.predict import prediction_of
from app.api.reading import Reading, read_film
from app.api.schemas import Prediction
from app.api.service import Service
from app.engine.classifier import Classifier
from app.engine.errors import DeviceFailed, Warming
from app.local.films import FilmFile
from app.main import LAST_BATCH_SECONDS, build_service
from app.settings import Settings
from app.telemetry.metrics import Metrics

_QUEUE = 100_000
_POLL_SECONDS = 0.005

log = logging.getLogger(__name__)


class FileFault(Exception):
    """A file that cannot be read or written. `code` is stable, `title` and the message are for people."""

    def __init__(self, code: str, title: str, error: OSError) -> None:
        super().__init__(f"{error.strerror or type(error).__name__}.")
        self.code = code
        self.title = title


@dataclass(frozen=True, slots=True)
class Judged:
    """A film with its prediction, and where its heat map was painted, if it was asked for."""

    film: FilmFile
    prediction: Prediction
    heatmap: Path | None


@dataclass(frozen=True, slots=True)
class NotJudged:
    """A film without a prediction, and why: a stable code as in problem documents, and words."""

    film: FilmFile
    code: str
    title: str
    detail: str
    prediction: None = None


Judgement = Judged | NotJudged


def judge(
    settings: Settings,
    classifier: Classifier,
    films: Sequence[FilmFile],
    *,
    heatmaps: Sequence[Path] | None = None,
    on_judgement: Callable[[Judgement], None],
) -> None:
    """Judge films, many at a time; whatever is wrong with one does not stop the others.

    Args:
        settings: as for the service; its limits hold here too.
        classifier: the model.
        films: what to judge.
        heatmaps: where to write each film with its heat map over it, as a PNG.
        on_judgement: called for each film, in order.

    Raises:
        DeviceFailed: the device cannot run the model at all, or not any more.
    """
    asyncio.run(_judge(settings, classifier, films, heatmaps or [None] * len(films), on_judgement))


async def _judge(
    settings: Settings,
    classifier: Classifier,
    films: Sequence[FilmFile],
    heatmaps: Sequence[Path | None],
    on_judgement: Callable[[Judgement], None],
) -> None:
    # Whether it runs at all: while it does not, the batcher would try for ever.
    side = classifier.input_size
    await asyncio.to_thread(classifier.run, np.zeros((1, side, side), np.uint8))
    # Here nobody is refused for lack of room: no more films are begun than are wanted under way.
    service = build_service(settings.model_copy(update={"max_queue": _QUEUE}), classifier, Metrics())
    most = 2 * service.batcher.room + service.decoders.workers
    run = uuid.uuid4().hex
    under_way: deque[asyncio.Task[Judgement]] = deque()
    service.batcher.start()
    try:
        for place, (film, heatmap) in enumerate(zip(films, heatmaps, strict=True)):
            if len(under_way) >= most:
                on_judgement(await under_way.popleft())
            await _until_ready(service)
            under_way.append(asyncio.create_task(_one(service, film, f"{run}-{place}", heatmap)))
        while under_way:
            on_judgement(await under_way.popleft())
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.to_thread(service.batcher.stop, LAST_BATCH_SECONDS)
        service.decoders.stop()


async def _one(service: Service, film: FilmFile, identifier: str, heatmap: Path | None) -> Judgement:
    try:
        content = await asyncio.to_thread(_read, film, service.settings.max_upload_bytes)
        reading = await _reading(service, content)
        if heatmap is not None:
            picture = await painted_film(service, content, reading)
            await asyncio.to_thread(_write, heatmap, picture)
    except FileFault as fault:
        return NotJudged(film, fault.code, fault.title, str(fault))
    except EXPECTED as error:
        return _not_judged(film, error, kind_of(error))
    except Exception as error:  # one film must not cost the others their answers
        log.exception("a film failed")
        return _not_judged(film, error, INTERNAL)
    return Judged(film, prediction_of(service, reading, identifier), heatmap)


async def _reading(service: Service, content: bytes) -> Reading:
    while True:
        try:
            return await read_film(service, content)
        except Warming:  # the device was lost by a film before this one
            await _until_ready(service)


async def _until_ready(service: Service) -> None:
    """Wait until the device takes films.

    Raises:
        DeviceFailed: it has not for `DEVICE_TIMEOUT_S`.
    """
    seconds = service.settings.device_timeout_s
    until = time.monotonic() + seconds
    while not service.batcher.ready:
        if time.monotonic() > until:
            raise DeviceFailed(f"The device has not run the model for {seconds:g} s.")
        await asyncio.sleep(_POLL_SECONDS)


def _not_judged(film: FilmFile, error: Exception, kind: Kind) -> NotJudged:
    return NotJudged(film, kind.code, kind.title, detail_of(error, kind))


def _read(film: FilmFile, max_bytes: int) -> bytes:
    try:
        content = film.read(max_bytes)
    except OSError as error:
        raise FileFault("file-not-opened", "The file cannot be opened", error) from error
    if len(content) > max_bytes:
        raise BodyTooLarge(
            f"The file is larger than {max_bytes:,} bytes; PNEUMOSCOPE_MAX_UPLOAD_MB allows for more."
        )
    return content


def _write(place: Path, picture: bytes) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(picture)
    except OSError as error:
        raise FileFault("heat-map-not-written", "The heat map cannot be written", error) from error
