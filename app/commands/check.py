"""`check`: what would be served, on what, why, and how fast."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import typer

from app import __version__
from app.commands.opening import load_classifier, load_settings, traces_sent
from app.engine.classifier import Classifier
from app.engine.cores import usable_cores
from app.engine.errors import DeviceFailed
from app.main import build_service
from app.telemetry import logs
from app.telemetry.metrics import Metrics


def check(
    runs: int = typer.Option(20, min=1, help="Timed runs of each batch size; the median is shown."),
) -> None:
    """Say what would be served, on what, why, and how fast."""
    chosen = load_settings()
    logs.configure("error")
    traces = traces_sent()
    classifier = load_classifier(chosen)
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
    typer.echo(f"traces       {traces}")
    typer.echo(f"cores        {usable_cores()}")
    if classifier.lanes > 1:
        typer.echo(f"lanes        {classifier.lanes} runs side by side; a film that is alone gets all cores")
        typer.echo(f"a film alone{_speed(classifier, 1, runs, alone=True)}")
    for films in sizes:
        typer.echo(f"batch of {films:<3}{_speed(classifier, films, runs, alone=classifier.lanes == 1)}")


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
