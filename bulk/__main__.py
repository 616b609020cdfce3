"""`python -m bulk`: judge an archive of radiographs, on this machine or a cluster; see docs/bulk.md."""

import signal
from contextlib import ExitStack
from types import FrameType
from typing import Annotated, NoReturn

import typer

from app import settings
from app.engine.classifier import Classifier
from app.engine.cores import usable_cores
from app.engine.errors import EngineError
from app.engine.model_file import ModelFile, choose_file, read_file
from app.engine.providers import ProviderName
from app.settings import InvalidSettings, Settings
from bulk import cluster, findings, listing, progress, refusals
from bulk.errors import ArchiveRefused, BulkError, OutputRefused, WorkerRefused
from bulk.output import OWN_FOLDERS, REFUSED, Output, Run, Terms
from bulk.places import Folder, Place, inside, open_place
from bulk.scoring import Pace, Rules
from bulk.worker import Job

MODEL_REFUSED = 1
WRONGLY_ASKED = 2
NOT_ALL_JUDGED = 3
UNFINISHED = 4
INTERRUPTED = 128
"""And the signal's number."""

GPU_BATCH = 32
READERS_OF_A_BUCKET = 8
"""Threads of a worker that wait for an object store, where one that reads from a disk suffices."""

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C."""


@cli.command()
def score(
    archive: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="Folder or URL (s3://bucket/films) with films at any depth."),
    ],
    output: Annotated[
        str, typer.Argument(metavar="OUTPUT", help="Folder or URL in which the table of findings grows.")
    ],
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster's address, or auto; by default this machine alone.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that judge; by default one a core, or one a GPU.")
    ] = None,
    with_uids: Annotated[
        bool,
        typer.Option("--with-uids", help="Add the UIDs of DICOM films and studies, which identify patients."),
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Look for films that came since, and judge them too.")
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Judge films again that could not be opened.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete what earlier runs wrote to OUTPUT, and begin anew.")
    ] = False,
) -> None:
    """Judge an archive of radiographs, on this machine or on a Ray cluster.

    Killed or interrupted, the same command goes on where it was. Settings come from the environment, as for the
    service; see docs/bulk.md.

    \b
    Exit codes:
    0    every film was judged
    1    the model is refused, or the device does not run it
    2    a setting or an argument is wrong, there is no film, or OUTPUT was begun with other settings
    3    some film could not be judged; the others were
    4    it did not finish: INPUT, OUTPUT or the cluster failed; the same command goes on
    130  interrupted (143: terminated); the same command goes on
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        chosen = settings.load()
        films, target = open_place(archive), Output(open_place(output))
        with ExitStack() as stack:
            if address is not None:
                stack.enter_context(cluster.connected(address, gpus=True))
            classifier = _classifier(chosen, on_cluster=address is not None)
            device = cluster.device_of_cluster(chosen.device) if address else classifier.provider.name
            terms = _terms(chosen, films, classifier, with_uids=with_uids)
            model = _model(chosen, device, classifier.sha256)
            run = _run(target, films, terms, model, fresh=fresh, update=update)
            again = target.with_code(run, refusals.NOT_OPENED) if retry else {}
            tally = progress.Tally(target.pending_films(run) + sum(again.values()))
            if tally.total:
                if address is None:
                    stack.enter_context(cluster.connected(None, gpus=device == "cuda"))
                count = workers or cluster.workers_of_cluster(device)
                job = _job(chosen, films, target.place, device, terms, retry=retry)
                shards = [*target.pending(run), *again]
                from bulk import pool  # noqa: PLC0415 - Ray, which is slow to import, waits until there is work

                # Ray's own handler would leave without a word.
                signal.signal(signal.SIGTERM, _terminate)
                with progress.shown(tally) as shown:
                    for done in pool.judge(job, shards, count):
                        shown.add(done)
        refused = target.refused()
    except KeyboardInterrupt as error:
        number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
        typer.echo("Interrupted. What is judged is kept: the same command goes on.", err=True)
        raise typer.Exit(INTERRUPTED + number) from None
    except (EngineError, WorkerRefused) as error:
        _end(error, MODEL_REFUSED)
    except (ArchiveRefused, OutputRefused, InvalidSettings) as error:
        _end(error, WRONGLY_ASKED)
    except BulkError as error:
        _end(error, UNFINISHED)
    except OSError as error:
        _end(
            f"{target.place.shown} cannot be read or written: {error.strerror or type(error).__name__}.",
            UNFINISHED,
        )
    for line in progress.report(tally, run.films, run.others, refused, f"{target.place.shown}/{REFUSED}"):
        typer.echo(line)
    if refused:
        raise typer.Exit(NOT_ALL_JUDGED)


def main() -> None:
    """Run the command line."""
    cli()


def _classifier(chosen: Settings, *, on_cluster: bool) -> Classifier:
    """The model here: what it promises, and where this machine alone judges, the device that is live."""
    if not on_cluster:
        return Classifier.open(
            chosen.model_dir,
            device=chosen.device,
            precision=chosen.precision,
            threshold=chosen.threshold,
            expected_sha256=chosen.model_sha256,
            threads=1,
        )
    path = choose_file(chosen.model_dir, chosen.precision, cluster.device_of_cluster(chosen.device))
    read_file(path, chosen.model_sha256)
    return Classifier.open_file(path, threshold=chosen.threshold, threads=1)


def _model(chosen: Settings, device: ProviderName, sha256: str) -> ModelFile:
    return read_file(choose_file(chosen.model_dir, chosen.precision, device), sha256)


def _terms(chosen: Settings, films: Place, classifier: Classifier, *, with_uids: bool) -> Terms:
    manifest = classifier.manifest
    return Terms(
        input=films.shown,
        model=f"{manifest.name} {manifest.version}",
        model_sha256=classifier.sha256,
        threshold=classifier.threshold,
        max_bytes=chosen.max_upload_bytes,
        max_pixels=chosen.max_pixels,
        with_uids=with_uids,
    )


def _run(target: Output, films: Place, terms: Terms, model: ModelFile, *, fresh: bool, update: bool) -> Run:
    """The run to go on with, or a new one once its films are listed; INPUT is looked at before OUTPUT changes."""
    for folder in OWN_FOLDERS:
        if inside(films, target.place, folder):
            raise OutputRefused(f"{films.shown} is where OUTPUT keeps its '{folder}': take another OUTPUT.")
    run = target.begun()
    films.require()
    if run is not None and not fresh:
        target.go_on(run, terms)
    if run is None or fresh or not run.listings:
        if not listing.has_film(films):
            raise ArchiveRefused(f"There is no film in {films.shown}.")
        if run is not None:
            target.clear(run)
        run = None
        target.keep(Run(begun=findings.now(), terms=terms, listings=()), model.content)
    if run is None or update:
        earlier = () if run is None else run.listings
        typer.echo(f"Looking for films in {films.shown} …", err=True)
        found = listing.write(films, target.place, earlier)
        begun = findings.now() if run is None else run.begun
        run = Run(begun=begun, terms=terms, listings=(*earlier, found))
        target.keep(run, model.content)
    return run


def _job(
    chosen: Settings, films: Place, output: Place, device: ProviderName, terms: Terms, *, retry: bool
) -> Job:
    on_gpu = device == "cuda"
    threads = chosen.decode_workers
    if threads == "auto":
        threads = usable_cores() if on_gpu else 1 if isinstance(films, Folder) else READERS_OF_A_BUCKET
    batch = chosen.max_batch
    return Job(
        archive=films.url,
        output=output.url,
        rules=Rules(terms.max_bytes, terms.max_pixels, terms.with_uids),
        pace=Pace((GPU_BATCH if on_gpu else 1) if batch == "auto" else batch, threads, decode_ahead=on_gpu),
        model_sha256=terms.model_sha256,
        threshold=chosen.threshold,
        device=device,
        cuda_memory_mb=chosen.cuda_memory_mb,
        retry=retry,
    )


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def _end(error: Exception | str, code: int) -> NoReturn:
    typer.echo(f"bulk: {error}", err=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
