"""Findings as DICOM objects, made in the decoding pool, off the event loop."""

from importlib import import_module

from app.api.errors import DicomMissing, NoHeatmap
from app.api.reading import read_film
from app.api.service import Service
from app.reporting.signature import require_dicom
from app.telemetry import tracing


async def report_of(service: Service, film: bytes) -> bytes:
    """Judge a film, a DICOM file; its structured report as another.

    Raises:
        DicomMissing: the extra `dicom` is not installed.
        ReportingError: no DICOM result can be made of this film.
        ImagingError: it is not a readable radiograph.
        EngineError: it cannot be judged now.
    """
    _require(film)
    reading = await read_film(service, film)

    def write() -> bytes:
        # Here, since it takes a second, and is there only with the extra `dicom`.
        from app.reporting.results import report_file  # noqa: PLC0415

        return report_file(film, reading.finding, service.classifier)

    with tracing.span("encode"), service.metrics.stage_seconds.labels("encode").time():
        return await service.decoders.run(write)


async def capture_of(service: Service, film: bytes) -> bytes:
    """Judge a film, a DICOM file; the film with its heat map as another.

    Raises:
        NoHeatmap: the model has none.
        DicomMissing: the extra `dicom` is not installed.
        ReportingError: no DICOM result can be made of this film.
        ImagingError: it is not a readable radiograph.
        EngineError: it cannot be judged now.
    """
    _require(film)
    reading = await read_film(service, film)
    finding, heatmap = reading.finding, reading.finding.heatmap
    if heatmap is None:
        raise NoHeatmap("This model has no heat map, so there is nothing to lay over the film.")

    def write() -> bytes:
        from app.reporting.results import capture_file  # noqa: PLC0415

        max_pixels = service.settings.max_pixels
        return capture_file(film, finding, heatmap, service.classifier, max_pixels=max_pixels)

    with tracing.span("encode"), service.metrics.stage_seconds.labels("encode").time():
        return await service.decoders.run(write)


def _require(film: bytes) -> None:
    """Go on only where a DICOM result of `film` may be had."""
    require_dicom(film)
    try:
        import_module("pydicom")
    except ModuleNotFoundError as error:
        raise DicomMissing("DICOM results need the service's extra 'dicom'.") from error
