"""The command line: `python -m app` serves, `predict` judges films without a server, `check` says how fast."""

import logging
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import numpy as np
import typer

from app import __version__, keys, settings
from app.engine.classifier import Classifier
from app.engine.cores import usable_cores
from app.engine.errors import DeviceFailed, EngineError
from app.keys import InvalidKeys
from app.main import build_service, open_classifier
from app.serving import serve as run_server
from app.settings import InvalidSettings, Settings
from app.telemetry import logs
from app.telemetry.metrics import Metrics
from app.telemetry.stream import log_stream
from app.telemetry.tracing import TracingRefused

if TYPE_CHECKING:
    from app.local.judging import Judgement

MODEL_REFUSED = 1
SETTINGS_REFUSED = 2
NOT_ALL_JUDGED = 3
FOUND_WHAT_FAILS = 4

log = logging.getLogger(__name__)
cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@cli.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Serve until told to stop. Settings come from environment variables; see docs/settings.md."""
    if context.invoked_subcommand is not None:
        return
    chosen = _settings()
    logs.configure(chosen.log_level, style=chosen.log_format, stream=log_stream())
    for name in settings.unknown_variables():
        log.warning("%s is no setting; is it misspelt?", name)
    classifier = _classifier(chosen)
    log.info(
        "%s %s on %s (%s), %s",
        classifier.manifest.name,
        classifier.manifest.version,
        classifier.provider.name,
        classifier.provider.reason,
        classifier.precision,
    )
    try:
        run_server(chosen, classifier)
    except TracingRefused as error:
        _refuse(error, SETTINGS_REFUSED)
    except InvalidKeys as error:
        _refuse(ValueError(f"{settings.PREFIX}API_KEYS_FILE: {error}"), SETTINGS_REFUSED)


@cli.command()
def check(
    runs: int = typer.Option(20, min=1, help="Timed runs of each batch size; the median is shown."),
) -> None:
    """Say what would be served, on what, why, and how fast."""
    chosen = _settings()
    logs.configure("error")
    classifier = _classifier(chosen)
    sizes = build_service(chosen, classifier, Metrics()).batcher.sizes
    manifest = classifier.manifest
    override = " (overrides the model's own)" if classifier.threshold_overridden else ""
    typer.echo(f"pneumoscope  {__version__}")
    typer.echo(f"model        {manifest.name} {manifest.version}, {manifest.architecture}")
    typer.echo(f"sha256       {classifier.sha256}")
    typer.echo(f"threshold    {classifier.threshold:.6g}{override}")
    typer.echo(f"heat map     {'yes' if classifier.has_heatmap else 'no'}")
    typer.echo(f"precision    {classifier.precision}")
    typer.echo(f"provider     {classifier.provider.name}: {classifier.provider.reason}")
    typer.echo(f"cores        {usable_cores()}")
    if classifier.lanes > 1:
        typer.echo(f"lanes        {classifier.lanes} runs side by side; a film that is alone gets all cores")
        typer.echo(f"a film alone{_speed(classifier, 1, runs, alone=True)}")
    for films in sizes:
        typer.echo(f"batch of {films:<3}{_speed(classifier, films, runs, alone=classifier.lanes == 1)}")


class FailOn(StrEnum):
    """What `predict` can be told to end with an exit code of its own for."""

    PNEUMONIA = "pneumonia"
    REVIEW = "review"


@cli.command()
def predict(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Films, folders of films, or - for standard input."),
    ],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Go into folders inside folders.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a film, as soon as it is judged, in order.")
    ] = False,
    heatmap: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write each film with its heat map over it into this folder."),
    ] = None,
    fail_on: Annotated[
        list[FailOn] | None,
        typer.Option(help="Exit with 4 if a film is labelled PNEUMONIA, or asks for review; repeatable."),
    ] = None,
) -> None:
    """Judge films on this machine, without a server.

    \b
    Exit codes:
    0  every film was judged
    1  the model is refused, or the device does not run it
    2  a setting or an argument is wrong, or there is no film
    3  some film could not be judged; the others were
    4  every film was judged, and what --fail-on names was found
    """
    from app.local import films, judging, report

    chosen = _settings()
    logs.configure("error")
    found = films.find(files, recursive=recursive, max_bytes=chosen.max_upload_bytes)
    if found.left_out:
        typer.echo(f"Left out, since they are no films: {found.left_out} of the folders' files.", err=True)
    if not found.films:
        hint = "" if recursive else "; --recursive goes into folders inside folders"
        raise typer.BadParameter(f"there is no film in what is named{hint}.")
    classifier = _classifier(chosen)
    if heatmap is not None and not classifier.has_heatmap:
        raise typer.BadParameter("this model has no heat map.", param_hint="--heatmap")
    judgements: list[judging.Judgement] = []
    bar = report.progress(hidden=len(found.films) == 1 or (as_json and sys.stdout.isatty()))
    task = bar.add_task("", total=len(found.films))

    def note(judgement: judging.Judgement) -> None:
        judgements.append(judgement)
        bar.advance(task)
        if as_json:
            typer.echo(report.json_line(judgement))

    places = None if heatmap is None else films.heatmap_places(found.films, heatmap)
    try:
        with bar:
            judging.judge(chosen, classifier, found.films, heatmaps=places, on_judgement=note)
    except DeviceFailed as error:
        _refuse(error, MODEL_REFUSED)
    finally:
        if judgements and not as_json:
            report.show(judgements, classifier)
    _exit_by(judgements, set(fail_on or ()))


@cli.command()
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
    chosen = _settings()
    logs.configure("error")
    try:
        from app.reporting.files import Outcome, write_results
    except ModuleNotFoundError as error:
        _refuse(_extra_missing(error), SETTINGS_REFUSED)

    def tell(film: Path, words: str) -> None:
        typer.echo(f"{film}: {words}")

    classifier = _classifier(chosen)
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


@cli.command()
def orthanc() -> None:
    """Have each new chest film of an Orthanc judged, and store its results there; see docs/orthanc.md."""
    chosen = _settings()
    logs.configure(chosen.log_level, style=chosen.log_format, stream=log_stream())
    try:
        from app.reporting.orthanc import BridgeRefused, run_bridge
    except ModuleNotFoundError as error:
        _refuse(_extra_missing(error), SETTINGS_REFUSED)
    try:
        run_bridge(chosen)
    except BridgeRefused as error:
        _refuse(error, SETTINGS_REFUSED)


@cli.command()
def key(
    name: Annotated[
        str, typer.Argument(help="Who will hold it: letters, digits, dots, hyphens, underscores.")
    ],
    expires: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Last day (UTC) on which it opens."),
    ] = None,
) -> None:
    """Make a key: it is shown once and kept nowhere; the service is given its entry. See docs/security.md."""
    made = keys.new_key()
    try:
        entry = keys.entry_of(name, made, expires.date() if expires else None)
    except InvalidKeys as error:
        raise typer.BadParameter(f"{error}.", param_hint="NAME") from None
    typer.echo(f"key    {made}")
    typer.echo(f"entry  {entry}")


def main() -> None:
    """Run the command line."""
    cli()


def _settings() -> Settings:
    try:
        return settings.load()
    except InvalidSettings as error:
        _refuse(error, SETTINGS_REFUSED)


def _classifier(chosen: Settings) -> Classifier:
    try:
        return open_classifier(chosen)
    except EngineError as error:
        _refuse(error, MODEL_REFUSED)


def _refuse(error: Exception, code: int) -> NoReturn:
    typer.echo(f"pneumoscope does not start: {error}", err=True)
    raise typer.Exit(code)


def _exit_by(judgements: Sequence["Judgement"], fail_on: set[FailOn]) -> None:
    """End with the code of the worst outcome, if it is not that all is well."""
    found = set()
    for judgement in judgements:
        if judgement.prediction is None:
            raise typer.Exit(NOT_ALL_JUDGED)
        if judgement.prediction.label == "PNEUMONIA":
            found.add(FailOn.PNEUMONIA)
        if judgement.prediction.review:
            found.add(FailOn.REVIEW)
    if found & fail_on:
        raise typer.Exit(FOUND_WHAT_FAILS)


def _extra_missing(error: ModuleNotFoundError) -> Exception:
    return RuntimeError(
        f"{error.name} is missing; install the extra `dicom`: pip install 'pneumoscope[dicom]'"
    )


def _speed(classifier: Classifier, films: int, runs: int, *, alone: bool) -> str:
    """The median milliseconds of a run with so many films, and the films a second of all lanes together."""
    size = classifier.input_size
    pixels = np.random.default_rng(0).integers(0, 256, (films, size, size), np.uint8)
    run = classifier.run if alone else classifier.run_beside
    lanes = 1 if alone else classifier.lanes

    def lane() -> list[float]:
        seconds = []
        for _ in range(runs):
            started = time.perf_counter()
            run(pixels)
            seconds.append(time.perf_counter() - started)
        return seconds

    try:
        run(pixels)
        with ThreadPoolExecutor(lanes) as pool:
            began = time.perf_counter()
            taken = [future.result() for future in [pool.submit(lane) for _ in range(lanes)]]
            passed = time.perf_counter() - began
    except DeviceFailed as error:
        return f"  {error}"
    return f"{1000 * float(np.median(taken)):8.1f} ms  {lanes * runs * films / passed:8.1f} films/s"
