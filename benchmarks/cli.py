"""`python -m benchmarks`: this service and its peers under the same load, and the page that tells of it."""

import re
import resource
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from app.engine.classifier import Classifier
from app.engine.errors import EngineError
from app.engine.model_file import choose_file
from app.engine.providers import Device
from benchmarks import compare as comparison
from benchmarks import films as uploads
from benchmarks import limits as bounds
from benchmarks import scaling as scales
from benchmarks import soak as soaking
from benchmarks import stages as profiling
from benchmarks.campaign import (
    Campaign,
    Conditions,
    OtherCampaign,
    sources_sha256,
    these_versions,
    this_machine,
)
from benchmarks.cores import all_cores
from benchmarks.environments import InstallFailed, python_of
from benchmarks.page import NoBlock, provenance
from benchmarks.publish import publish
from benchmarks.server import DidNotStart, Setup
from benchmarks.targets import BARE, TARGETS

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
console = Console(width=None if sys.stdout.isatty() else 120)
OPEN_FILES = 65_536
"""An overload holds thousands of connections, in the generator and in each server."""
EVERYTHING = ",".join([*TARGETS, BARE])
PAGE, PICTURES = Path("docs/performance.md"), Path("docs/images/performance")


@dataclass(frozen=True, slots=True)
class Work:
    """What the commands share."""

    campaign: Campaign
    setup: Setup
    films: list[bytes]
    targets: list[str]
    rounds: int
    requests: int
    page: Path
    pictures: Path
    command: str


def portable(words: list[str]) -> str:
    """The command as it may stand on a page: paths that begin at the root are of this machine alone."""
    shown = [re.sub(r"^(--[a-z]+=)?/.*", r"\1PATH", word) for word in words]
    return shlex.join(["python", "-m", "benchmarks", *shown])


@app.callback(invoke_without_command=True)
def _begin(
    context: typer.Context,
    films: Annotated[
        Path | None, typer.Option(help="Folder of full-size films; drawn ones if not given.")
    ] = None,
    models: Annotated[Path, typer.Option(help="The service's model folder.")] = Path("models/pneumonia/1"),
    keras: Annotated[
        Path | None, typer.Option(help="Network for FastAPI + Keras; an untrained ResNet50 if not given.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    targets: Annotated[str, typer.Option(help="What to compare, comma-separated.")] = EVERYTHING,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of everything but scaling and soak.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of one closed load.")] = 10.0,
    workers: Annotated[int | None, typer.Option(min=1, help="Workers of a peer; one a core.")] = None,
    requests: Annotated[int, typer.Option(min=10, help="Length of the soak; most films of bulk.")] = 100_000,
    folder: Annotated[Path, typer.Option(help="For environments, logs and rows.")] = Path("runs/bench"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Throw earlier rows away.")] = False,
    page: Annotated[Path, typer.Option(help="Page whose blocks are filled.")] = PAGE,
    pictures: Annotated[Path, typer.Option(help="Folder of the page's figures.")] = PICTURES,
) -> None:
    """Measure everything. Each row is kept as soon as it is there: killed, it goes on."""
    if context.resilient_parsing or "--help" in sys.argv:
        return
    names = targets.split(",")
    if unknown := set(names) - {*TARGETS, BARE}:
        raise typer.BadParameter(f"There is no target {', '.join(sorted(unknown))}; there are {EVERYTHING}.")
    if device not in ("cpu", "cuda"):
        raise typer.BadParameter("The device is cpu or cuda.")
    chosen: Device = "cuda" if device == "cuda" else "cpu"
    sent = uploads.load(films)
    model = choose_file(models, "auto", "cuda" if chosen == "cuda" else "cpu")
    classifier = Classifier.open_file(model, device=chosen)
    setup = Setup(
        model=model,
        input_size=classifier.input_size,
        device=chosen,
        keras=keras,
        workers=workers or (1 if chosen == "cuda" else len(all_cores())),
        folder=folder,
    )
    conditions = Conditions(
        films=("drawn: " if films is None else "") + uploads.describe(sent),
        films_sha256=uploads.digest(sent),
        model=model.name,
        model_sha256=classifier.sha256,
        device=chosen,
        keras=keras is not None,
        workers=setup.workers,
        seconds=seconds,
        machine=this_machine(),
        versions=these_versions(chosen),
        sources_sha256=sources_sha256(),
    )
    rows = folder / "rows"
    if fresh:
        shutil.rmtree(rows, ignore_errors=True)
    context.obj = Work(
        campaign=Campaign(rows, conditions),
        setup=setup,
        films=sent,
        targets=names,
        rounds=rounds,
        requests=requests,
        page=page,
        pictures=pictures,
        command=portable(sys.argv[1:]),
    )
    if context.invoked_subcommand is None:
        everything(context)


@app.command("all")
def everything(context: typer.Context) -> None:
    """Everything below, in this order; on two cores about an hour."""
    for part in (bare, stages, compare, scaling, soak):
        part(context)


@app.command()
def compare(context: typer.Context) -> None:
    """This service and its peers under the same loads."""
    work: Work = context.obj
    work.campaign.begin(comparison.PART, work.command)
    for name in work.targets:
        if name in TARGETS and TARGETS[name].requirements:
            console.print(f"· environment of {TARGETS[name].title}")
            python_of(
                TARGETS[name].requirements,
                work.setup.folder / "environments",
                cuda=work.setup.device == "cuda",
            )
    for visit in comparison.compare(work.campaign, work.setup, work.films, work.targets, work.rounds):
        if isinstance(visit, comparison.Failure):
            console.print(
                f"· round {visit.round + 1}, {visit.target} [bold red]failed[/]: {escape(visit.words)}"
            )
            continue
        loads = {name: load.throughput for name, load in visit.loads.items()}
        loads |= {name: rate.films_a_second for name, rate in visit.limits.items()}
        told = ", ".join(f"{name} {films:.1f}" for name, films in loads.items())
        console.print(f"· round {visit.round + 1}, {visit.target}, films/s: {told}")
    page(context)


@app.command()
def bare(context: typer.Context) -> None:
    """The limits without a service: loop, decoder, precision, engine."""
    work: Work = context.obj
    work.campaign.begin(bounds.PART, work.command)
    for found in bounds.limits(work.campaign, work.setup, work.films, work.rounds):
        console.print(f"· round {found.round + 1}, decoding {found.decoding.service:.1f} ms a film")
    page(context)


@app.command()
def stages(context: typer.Context) -> None:
    """Where a request's time goes."""
    work: Work = context.obj
    work.campaign.begin(profiling.PART, work.command)
    for found in profiling.profile(work.campaign, work.setup, work.films, work.rounds):
        console.print(
            f"· round {found.round + 1}, {found.concurrency} clients, {found.client:.1f} ms a film, "
            f"{found.added:.1f} ms beyond decoding and inference"
        )
    page(context)


@app.command()
def scaling(context: typer.Context) -> None:
    """Throughput against batch, clients, size of the films and cores."""
    work: Work = context.obj
    work.campaign.begin(scales.PART, work.command)
    for point in scales.scale(work.campaign, work.setup, work.films):
        console.print(f"· {point.against} {point.at}, {point.series}: {point.throughput:.1f} films/s")
    page(context)


@app.command()
def soak(context: typer.Context) -> None:
    """Many requests with a tiny model: memory and latency over time."""
    work: Work = context.obj
    work.campaign.begin(soaking.PART, work.command)
    found = soaking.soak(work.campaign, work.setup, work.requests)
    console.print(f"· {found.requests} requests, {found.growth / 1e6:.3f} MB more for each 10,000")
    page(context)


@app.command()
def bulk(context: typer.Context) -> None:
    """Bulk scoring: films a second against cores, overhead, memory; its tables are printed, for docs/bulk.md."""
    from benchmarks import bulk as scoring  # noqa: PLC0415 - pyarrow is slow to import, and of no use to the others

    work: Work = context.obj
    work.campaign.begin(scoring.PART, work.command)
    runs = scoring.steady(work.campaign, work.setup, work.films, work.rounds)
    sizes = scoring.memory(work.campaign, work.setup, work.requests)
    typer.echo(f"{provenance(work.campaign, scoring.PART, work.rounds)}\n\n{scoring.page(runs, sizes)}")


@app.command()
def page(context: typer.Context) -> None:
    """Fill the page from the rows that there are, without measuring anything."""
    work: Work = context.obj
    written = publish(work.campaign, work.page, work.pictures)
    console.print(f"{work.page}: {', '.join(written) or 'nothing was measured yet'}")


def main() -> None:
    """Run the command; a known fault is one sentence and exit code 2."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    try:
        app()
    except (EngineError, OtherCampaign, InstallFailed, DidNotStart, NoBlock, uploads.NoFilms) as error:
        Console(stderr=True).print(f"[bold red]Error:[/] {error}", highlight=False)
        raise SystemExit(2) from error
