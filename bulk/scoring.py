"""Films → rows, by the service's decoder and its classifier, in one process."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from app import imaging
from app.engine.classifier import Classifier
from app.engine.errors import DeviceFailed, OutOfDeviceMemory
from app.engine.finding import Finding
from app.imaging import Radiograph
from bulk import findings, refusals
from bulk.findings import Row
from bulk.places import File, Place

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a film may be, and what is told of it.

    `max_bytes`, `max_pixels`: the service's limits. `with_uids`: whether rows name the DICOM objects.
    """

    max_bytes: int
    max_pixels: int
    with_uids: bool


@dataclass(frozen=True, slots=True)
class Pace:
    """How one process works: films in a run of the model, threads that read, and whether those decode too.

    Reading ahead hides an object store's latency. Where the model runs on a GPU, the threads decode as well; on a
    core of its own, one thread that decodes and judges in turn wastes least.
    """

    batch: int
    threads: int
    decode_ahead: bool


@dataclass(slots=True)
class _Film:
    """A film on its way: what is known of it so far."""

    row: Row
    content: bytes = b""
    radiograph: Radiograph | None = None


class Scorer:
    """Judges films of one archive with one classifier, from one thread."""

    def __init__(self, archive: Place, classifier: Classifier, rules: Rules, pace: Pace) -> None:
        self._archive = archive
        self._classifier = classifier
        self._rules = rules
        self._pace = pace
        self._readers = ThreadPoolExecutor(pace.threads, "reader")
        manifest = classifier.manifest
        self._constant: Row = {
            "threshold": classifier.threshold,
            "threshold_overridden": classifier.threshold_overridden,
            "model_name": manifest.name,
            "model_version": manifest.version,
            "model_sha256": classifier.sha256,
            "provider": classifier.provider.name,
        }

    def score(self, files: Sequence[File]) -> list[Row]:
        """A row for each file, in order, whatever is wrong with some.

        Raises:
            DeviceFailed: the device does not run the model.
        """
        step = self._decoded if self._pace.decode_ahead else self._read
        ahead = self._pace.threads + self._pace.batch
        films = _ahead(self._readers, step, files, ahead)
        rows: list[Row] = []
        while batch := list(islice(films, self._pace.batch)):
            for film in batch:
                self._decode(film)
            self._judge([film for film in batch if film.radiograph is not None])
            rows += [film.row for film in batch]
        return rows

    def _read(self, file: File) -> _Film:
        row = {"path": printable(file.name), "bytes": file.size, **self._constant}
        limit = self._rules.max_bytes
        try:
            content = self._archive.read(file.name, limit + 1)
        except OSError as error:
            return _Film(row | _refused(refusals.refusal(error)))
        if len(content) > limit:
            return _Film(row | _refused(refusals.too_large(limit)))
        row |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        return _Film(row, content)

    def _decoded(self, file: File) -> _Film:
        film = self._read(file)
        self._decode(film)
        return film

    def _decode(self, film: _Film) -> None:
        if film.radiograph is not None or "status" in film.row:
            return
        try:
            radiograph = imaging.read(
                film.content, size=self._classifier.input_size, max_pixels=self._rules.max_pixels
            )
            film.row |= {
                "format": radiograph.format,
                "width": radiograph.width,
                "height": radiograph.height,
            }
            if self._rules.with_uids and radiograph.format == "DICOM":
                film.row |= _identity(film.content)
            film.radiograph = radiograph
        except Exception as error:  # noqa: BLE001 - one film must not cost the others their rows
            film.row |= _refused(refusals.refusal(error))
        film.content = b""

    def _judge(self, films: Sequence[_Film]) -> None:
        radiographs = [film.radiograph for film in films if film.radiograph is not None]
        answers = self._classify(radiographs)
        for film, answer in zip(films, answers, strict=True):
            film.radiograph = None
            if isinstance(answer, Finding):
                film.row |= findings.judged(answer) | {"scored_at": findings.now()}
            else:
                film.row |= _refused(refusals.refusal(answer))

    def _classify(self, radiographs: Sequence[Radiograph]) -> list[Finding | DeviceFailed]:
        """Findings in order; a batch that does not fit into the device's memory is halved."""
        if not radiographs:
            return []
        try:
            return self._classifier.classify(radiographs)
        except OutOfDeviceMemory:
            half = len(radiographs) // 2
            if not half:
                raise
            return self._classify(radiographs[:half]) + self._classify(radiographs[half:])


def printable(name: str) -> str:
    """A file's name as text; bytes that are not UTF-8 as backslash and hexadecimal digits."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _refused(why: tuple[str, str]) -> Row:
    return findings.refused(*why) | {"scored_at": findings.now()}


def _identity(content: bytes) -> Row:
    from bulk.identity import identity  # noqa: PLC0415 - where pydicom is missing, no film is DICOM

    found = identity(content)
    return {"sop_instance_uid": found.instance, "study_instance_uid": found.study}


def _ahead(
    threads: ThreadPoolExecutor, step: Callable[[Item], Result], items: Sequence[Item], most: int
) -> Iterator[Result]:
    """`step` of each item, in order, at most so many begun before they are asked for."""
    begun: deque[Future[Result]] = deque()
    for item in items:
        begun.append(threads.submit(step, item))
        if len(begun) > most:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()
