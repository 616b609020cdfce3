"""`dicom` and `orthanc`: results as DICOM files, and in an Orthanc; both need the extra `dicom`."""

from pathlib import Path
from typing import Annotated

import typer

from app.commands.opening import SETTINGS_REFUSED, load_classifier, load_settings, refuse
from app.telemetry import logs
from app.telemetry.stream import log_stream


def dicom(
    films: Annotated[
        list[Path], typer.Argument(dir_okay=False, help="DICOM files, each one chest film; no folders.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for NAME.sr.dcm and NAME.sc.dcm of each film.")],
) -> None:
    """Write each film's structured report and heat map as DICOM files, by the local model.

    \b
    Exit codes:
    0  the results of all films were written
    1  the model is refused, or the device does not run it
    2  a setting or an argument is wrong
    3  some film was refused, none failed
    4  some film failed: it could not be read, judged or written
    """
    chosen = load_settings()
    logs.configure("error")
    try:
        from app.reporting.files import Outcome, write_results
    except ModuleNotFoundError as error:
        refuse(_extra_missing(error), SETTINGS_REFUSED)

    def tell(film: Path, words: str) -> None:
        typer.echo(f"{film}: {words}")

    classifier = load_classifier(chosen)
    outcome = write_results(
        classifier,
        films,
        output,
        max_pixels=chosen.max_pixels,
        max_bytes=chosen.max_upload_bytes,
        tell=tell,
    )
    if outcome is not Outcome.WRITTEN:
        raise typer.Exit(outcome)


def orthanc() -> None:
    """Have each new chest film of an Orthanc judged, and store its results there; see docs/orthanc.md."""
    chosen = load_settings()
    logs.configure(chosen.log_level, style=chosen.log_format, stream=log_stream())
    try:
        from app.reporting.orthanc import BridgeRefused, run_bridge
    except ModuleNotFoundError as error:
        refuse(_extra_missing(error), SETTINGS_REFUSED)
    try:
        run_bridge(chosen)
    except BridgeRefused as error:
        refuse(error, SETTINGS_REFUSED)


def _extra_missing(error: ModuleNotFoundError) -> Exception:
    return RuntimeError(
        f"{error.name} is missing; install the extra `dicom`: pip install 'pneumoscope[dicom]'"
    )
