"""A film and its finding → DICOM files: what the service answers and `python -m app dicom` writes."""

from app.engine.classifier import Classifier
from app.engine.finding import Finding
from app.imaging import overlay
from app.reporting.identity import Algorithm, part10
from app.reporting.secondary_capture import MAX_CAPTURE_PIXELS, secondary_capture
from app.reporting.source import read_source
from app.reporting.structured_report import structured_report


def report_file(film: bytes, finding: Finding, classifier: Classifier) -> bytes:
    """The structured report of a film, as a DICOM file.

    Args:
        film: the DICOM file that was judged.
        finding: what `classifier` said of it.
        classifier: the model.

    Raises:
        ReportingError: no DICOM result can be made of this film.
    """
    return part10(structured_report(read_source(film), finding, Algorithm.of(classifier)))


def capture_file(
    film: bytes, finding: Finding, heatmap: overlay.Heatmap, classifier: Classifier, *, max_pixels: int
) -> bytes:
    """The film with its heat map as a secondary capture, as a DICOM file.

    Args:
        film: the DICOM file that was judged.
        finding: what `classifier` said of it.
        heatmap: float32, [h, w]: the finding's own.
        classifier: the model.
        max_pixels: refuse larger films.

    Raises:
        ReportingError: no DICOM result can be made of this film.
        ImagingError: as `app.imaging.read` does.
    """
    source = read_source(film)
    painted = overlay.painted(film, heatmap, max_pixels=max_pixels, shrink_to=MAX_CAPTURE_PIXELS)
    return part10(secondary_capture(source, finding, Algorithm.of(classifier), painted))
