"""`python -m model_export.reference FOLDER --films DIR`: what a model says of films that nothing is wrong with.

Drift is measured against it (docs/monitoring.md). It is written into the manifest of the model files that are
there already; nothing else in them changes.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from math import sqrt
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import typer
from rich.console import Console
from rich.progress import track

from app.engine.classifier import Classifier
from app.engine.cores import usable_cores
from app.engine.errors import EngineError
from app.engine.finding import Finding
from app.engine.manifest import METADATA_KEY, Distribution, Manifest, Reference, Training
from app.engine.model_file import FLOAT_FILE, INT8_FILE, ModelFile
from app.engine.providers import Provider, open_session
from app.engine.signals import EDGES, Signal
from app.imaging import ImagingError, Radiograph, read
from app.local.films import find

BATCH = 16
ONE_IN_A_THOUSAND = 1.95
"""Of the Kolmogorov–Smirnov statistic: chance alone exceeds this many times sqrt(1 / films) so often."""

console = Console()


class NoReference(ValueError):
    """No reference can be measured; the message says why."""


def measure(classifier: Classifier, films: Iterable[Radiograph], source: str) -> Reference:
    """What `classifier` says of `films`, as the service would: its numbers, and for how many it asks for review.

    A film whose answer is not a probability is left out, as the service does not count it either.

    Args:
        classifier: the model file that is to carry the reference.
        films: decoded at its input size.
        source: which films they are, in words.

    Raises:
        NoReference: there is no film.
        DeviceFailed: the model cannot be run.
    """
    seen: dict[Signal, list[float]] = {"probability": [], "novelty": [], "brightness": []}
    asked = 0
    for batch in _batches(films):
        for radiograph, finding in zip(batch, classifier.classify(batch), strict=True):
            if isinstance(finding, Finding):
                seen["probability"].append(finding.probability)
                seen["brightness"].append(radiograph.exposure.brightness)
                if finding.novelty is not None:
                    seen["novelty"].append(finding.novelty)
                asked += finding.review
    judged = len(seen["probability"])
    if not judged:
        raise NoReference("There is no film to measure the reference on.")
    return Reference(
        source=source,
        measured=datetime.now(UTC).replace(microsecond=0),
        films=judged,
        review_share=asked / judged,
        probability=spread("probability", seen["probability"]),
        novelty=spread("novelty", seen["novelty"]) if seen["novelty"] else None,
        brightness=spread("brightness", seen["brightness"]),
    )


def spread(signal: Signal, values: Sequence[float]) -> Distribution:
    """The cumulative shares of `values` at the signal's edges, at least one value."""
    edges = EDGES[signal]
    below = np.searchsorted(np.sort(values), edges, side="right")
    return Distribution(edges=edges, shares=tuple(float(count) / len(values) for count in below))


def decoded(
    paths: Iterable[Path], size: int, on_unreadable: Callable[[str], None] = lambda _: None
) -> Iterator[Radiograph]:
    """Films by the service's own decoder; one that cannot be read is left out and told.

    Args:
        paths: files with a film each.
        size: side of the square in pixels.
        on_unreadable: called with what is wrong with a file.
    """
    for path in paths:
        try:
            yield read(path.read_bytes(), size=size)
        except ImagingError as error:
            on_unreadable(str(error))
        except OSError as error:
            on_unreadable(f"{error.strerror}.")


def paths_below(folder: Path) -> list[Path]:
    """The films in a folder and in those inside it.

    Raises:
        NoReference: there is no such folder.
    """
    if not folder.is_dir():
        raise NoReference(f"There is no folder {folder}.")
    return [film.path for film in find([folder], recursive=True, max_bytes=0).films]


def held_out_source(training: Training) -> str:
    """In words: the films that a model's run held out."""
    if training.data is None or training.folds is None:
        return "films that the export was given"
    return (
        f"fold {training.held_out_fold} of {training.folds} (seed {training.seed}), never trained on, of "
        f"{training.data.name}"
    )


def held_out_paths(data: Path, training: Training) -> list[Path]:
    """The films of the data set `data` that a model's run held out.

    Raises:
        NoReference: the manifest does not say which.
        DatasetError: the data set is not there, or not as it should be.
    """
    from training.dataset import find_films  # noqa: PLC0415  needs the extra `train`
    from training.folds import split  # noqa: PLC0415

    if training.folds is None or training.held_out_fold is None or training.seed is None:
        raise NoReference("The model does not say which fold it never saw: give its films with --films.")
    films = find_films(data)
    held_out = split(films, training.folds, training.seed) == training.held_out_fold
    return [film.path for film, chosen in zip(films, held_out, strict=True) if chosen]


def classifier_of(content: bytes) -> Classifier:
    """The model of an ONNX file that is not on a disk yet, on the CPU.

    Raises:
        ModelFileError: it is not what the service asks of a model file.
    """
    provider = Provider("cpu", "a file that is not written yet is judged on the CPU")
    session = open_session(content, provider, threads=usable_cores())
    return Classifier(
        session, ModelFile(Path(FLOAT_FILE), content, hashlib.sha256(content).hexdigest()), provider
    )


def with_reference(content: bytes, reference: Reference) -> bytes:
    """A model file with `reference` in its manifest instead of what it had; the rest is byte for byte the same."""
    model = onnx.load_from_string(content)
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    manifest = Manifest.model_validate_json(entry.value)
    entry.value = manifest.model_copy(update={"reference": reference}).model_dump_json()
    changed: bytes = model.SerializeToString()
    return changed


def replace_files(contents: dict[Path, bytes]) -> None:
    """Put new model files in the place of old ones, each as a whole, once all of them can be served.

    Raises:
        ModelFileError: one of them is not what the service asks of a model file; then none is replaced.
        OSError: they cannot be written; then none is replaced, or the first alone.
    """
    staged = {path.with_name(f".{path.name}.new"): path for path in contents}
    try:
        for new, path in staged.items():
            classifier_of(contents[path])
            with new.open("wb") as file:
                file.write(contents[path])
                file.flush()
                os.fsync(file.fileno())
            shutil.copymode(path, new)
        for new, path in staged.items():
            new.replace(path)
    finally:
        for new in staged:
            new.unlink(missing_ok=True)


def write_reference(
    folder: Path,
    *,
    films: Path | None,
    data: Path | None,
    source: str | None,
) -> dict[Path, Reference]:
    """Measure a reference for each model file in `folder`, and write it into that file.

    Args:
        folder: holds `model.onnx` and perhaps `model.int8.onnx`.
        films: a folder of films, or
        data: the data set that the model's run was given, of which the held-out fold is taken.
        source: which films they are, in words.

    Raises:
        NoReference: there is no model or no film, or it is not said which.
        EngineError: a model file is refused, or cannot be run.
        DatasetError: `data` is no data set.
    """
    files = [path for path in (folder / FLOAT_FILE, folder / INT8_FILE) if path.is_file()]
    if not files:
        raise NoReference(f"There is no {FLOAT_FILE} in {folder}.")
    contents, references = {}, {}
    for file in files:
        classifier = Classifier.open_file(file)
        training = classifier.manifest.training
        if films is not None and data is None:
            paths, found = paths_below(films), "films of a folder"
        elif data is not None and films is None:
            paths, found = held_out_paths(data, training), held_out_source(training)
        else:
            raise NoReference("Give either --films or --data.")
        unreadable: list[str] = []
        shown = track(paths, f"judging by {file.name}", console=console, transient=True)
        references[file] = measure(
            classifier, decoded(shown, classifier.input_size, unreadable.append), source or found
        )
        if unreadable:
            left_out = f"{len(unreadable)} of {len(paths)} files cannot be read and are left out"
            console.print(f"{left_out}; the first: {unreadable[0]}", highlight=False, soft_wrap=True)
        contents[file] = with_reference(file.read_bytes(), references[file])
    replace_files(contents)
    return references


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with model.onnx and perhaps model.int8.onnx.")],
    films: Annotated[
        Path | None,
        typer.Option(help="Folder of films, JPEG, PNG or DICOM, that nothing is wrong with."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="The data set the model was trained on, of which the held-out fold is taken."),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Which films they are, in words that everybody may read.")
    ] = None,
) -> None:
    """Write what a model says of known films into its files, so that drift from it can be told."""
    try:
        references = write_reference(folder, films=films, data=data, source=source)
    except (EngineError, OSError, ValueError) as error:
        Console(stderr=True).print(f"[bold red]Error:[/] {error}", highlight=False)
        raise SystemExit(2) from error
    for file, reference in references.items():
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        console.print(
            f"{file}: {reference.films} films, {reference.review_share:.1%} for review; SHA-256 {sha256}",
            soft_wrap=True,
            highlight=False,
        )
    fewest = min(reference.films for reference in references.values())
    console.print(
        f"A distance below {ONE_IN_A_THOUSAND / sqrt(fewest):.2f} from {fewest} films is chance.",
        highlight=False,
    )


def _batches(films: Iterable[Radiograph]) -> Iterator[list[Radiograph]]:
    remaining = iter(films)
    while batch := list(islice(remaining, BATCH)):
        yield batch


if __name__ == "__main__":
    typer.run(main)
