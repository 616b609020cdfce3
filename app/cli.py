"""The command line: `python -m app` serves, `python -m app check` says what it would serve, and how fast."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import numpy as np
import typer

from app import __version__, settings
from app.engine.classifier import Classifier
from app.engine.cores import usable_cores
from app.engine.errors import DeviceFailed, EngineError
from app.main import build_service, open_classifier
from app.serving import serve as run_server
from app.settings import InvalidSettings, Settings
from app.telemetry import logs
from app.telemetry.metrics import Metrics

MODEL_REFUSED = 1
SETTINGS_REFUSED = 2

log = logging.getLogger(__name__)
cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@cli.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Serve until told to stop. Settings come from environment variables; see docs/settings.md."""
    if context.invoked_subcommand is not None:
        return
    chosen = _settings()
    logs.configure(chosen.log_level)
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
    run_server(chosen, classifier)


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
