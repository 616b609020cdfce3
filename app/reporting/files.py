"""Films on disk → their DICOM results on disk, by a local model: what `python -m app dicom` does."""

import re
from collections.abc import Callable, Sequence
from enum import IntEnum
from pathlib import Path

from app.engine.classifier import Classifier
from app.engine.errors import EngineError
from app.imaging import ImagingError, read
from app.reporting.errors import ReportingError
from app.reporting.results import capture_file, report_file
from app.reporting.signature import require_dicom

REPORT_SUFFIX = ".sr.dcm"
CAPTURE_SUFFIX = ".sc.dcm"

_FILM_SUFFIX = re.compile(r"\.(dcm|dicom|ima)$", re.IGNORECASE)


class Outcome(IntEnum):
    """What became of a film; the greatest of all films is the exit code."""

    WRITTEN = 0
    REFUSED = 3
    """It is no film that a result can be made of."""
    FAILED = 4
    """It could not be judged, read or written."""


class _TooLarge(ValueError):
    """The file is larger than an upload may be."""


def write_results(
    classifier: Classifier,
    films: Sequence[Path],
    folder: Path,
    *,
    max_pixels: int,
    max_bytes: int,
    tell: Callable[[Path, str], None],
) -> Outcome:
    """Write the report of each film, and its heat map where the model has one; the worst outcome.

    Args:
        classifier: the model.
        films: DICOM files. One that is refused or fails does not spoil the others.
        folder: where to write; made where it is not there. Results that stand there are replaced.
        max_pixels: refuse films of more pixels.
        max_bytes: refuse larger files; no more of them is read.
        tell: called with each film and what became of it, in words.
    """
    worst = Outcome.WRITTEN
    taken: set[str] = set()
    for film in films:
        name = _FILM_SUFFIX.sub("", film.name)
        try:
            if name in taken:
                outcome, words = Outcome.FAILED, f"another film of this run is called {name} too"
            else:
                taken.add(name)
                outcome, words = (
                    Outcome.WRITTEN,
                    _write(classifier, film, folder / name, max_pixels, max_bytes),
                )
        except (ImagingError, ReportingError, _TooLarge) as error:
            outcome, words = Outcome.REFUSED, str(error)
        except EngineError as error:
            outcome, words = Outcome.FAILED, str(error)
        except OSError as error:
            outcome, words = Outcome.FAILED, error.strerror or type(error).__name__
        except Exception as error:  # noqa: BLE001 - highdicom's errors quote the film, and one film is not all
            outcome, words = Outcome.FAILED, f"No result can be made of it: {type(error).__name__}."
        worst = max(worst, outcome)
        tell(film, words)
    return worst


def _write(classifier: Classifier, path: Path, stem: Path, max_pixels: int, max_bytes: int) -> str:
    with path.open("rb") as opened:
        film = opened.read(max_bytes + 1)
    if len(film) > max_bytes:
        raise _TooLarge(
            f"The file is larger than {max_bytes:,} bytes; PNEUMOSCOPE_MAX_UPLOAD_MB allows for more."
        )
    require_dicom(film)
    radiograph = read(film, size=classifier.input_size, max_pixels=max_pixels)
    (finding,) = classifier.classify([radiograph])
    if isinstance(finding, EngineError):
        raise finding
    report = report_file(film, finding, classifier)
    capture = (
        None
        if finding.heatmap is None
        else capture_file(film, finding, finding.heatmap, classifier, max_pixels=max_pixels)
    )
    stem.parent.mkdir(parents=True, exist_ok=True)
    _replace(stem.with_name(stem.name + REPORT_SUFFIX), report)
    if capture is not None:
        _replace(stem.with_name(stem.name + CAPTURE_SUFFIX), capture)
    review = ", to be looked at" if finding.review else ""
    return f"{finding.label} {finding.probability:.6f}{review}"


def _replace(path: Path, content: bytes) -> None:
    """Write a file that is either there as a whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
