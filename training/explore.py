"""What a folder of films holds, measured before anything is trained on it (exploratory data analysis).

Films are counted in every split; only the one to train on is decoded and measured, by the service's own
decoder. The same films, folds and seed give the same page."""

import csv
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from scipy.ndimage import laplace
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from app.engine.manifest import Estimate
from app.imaging import Exposure, ImagingError, read
from training import dataset, duplicates, exploration_figures, exploration_page, findings, folds, slices
from training.dataset import LABELS, SOURCE_SIZE, SUFFIXES, Dataset, DatasetError, Film, Pixels, list_digest
from training.exploration import (
    CLASSES,
    KINDS,
    Cluster,
    Count,
    Duplicates,
    Exploration,
    Folds,
    Material,
    MeanFilms,
    Measure,
    NearDuplicates,
    Pair,
    Patients,
    Shared,
    Sizes,
    Spread,
    Style,
    Unreadable,
)
from training.metrics import Scored, evaluate

CLUSTERS = 6
CLOSEST_PAIRS = 8
BLACK = 16
"""Grey levels under this are black: beside the patient, or a border."""
_LISTED_SIZES = 20

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_MEASURES: dict[str, tuple[str, Literal["file", "square"]]] = {
    "width": ("pixels", "file"),
    "height": ("pixels", "file"),
    "aspect ratio": ("w / h", "file"),
    "file size": ("KB", "file"),
    "brightness": ("grey level", "square"),
    "contrast": ("grey levels", "square"),
    "sharpness": ("Laplacian variance", "square"),
    "black": ("share", "square"),
}
"""Unit of each measure, and whether it is of the file or of the decoded square.

Brightness and contrast as in `app.imaging.Exposure`; sharpness is the variance of the Laplacian (Pech-Pacheco et
al., Diatom autofocusing in brightfield microscopy, 2000); black is the share of pixels under `BLACK`."""


def explore(
    source: Path, output: Path, console: Console, *, fold_count: int = 5, seed: int = 0, command: str = ""
) -> Exploration:
    """Measure the films of `source`; write `index.html`, its pictures, `exploration.json` and `films.csv`.

    Args:
        source: a data set's folder, a folder of classes, or a CSV (see `training.dataset.find_films`).
        output: folder to write into.
        console: shows the progress.
        fold_count: how many folds `fit` would make.
        seed: of the folds, the style scores, k-means and the choice of films that are shown.
        command: to be named on the page.

    Raises:
        DatasetError: a folder is missing or empty, or no film of a class can be read.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        found, material = _measure(source, progress, fold_count, seed, command)
        output.mkdir(parents=True, exist_ok=True)
        drawings = exploration_figures.drawings(found, material, seed)
        for name, draw in progress.track(drawings.items(), description="drawing"):
            draw(output / name)
    found.save(output / "exploration.json")
    _save_films(output / "films.csv", material)
    (output / "index.html").write_text(exploration_page.write(found, drawings), encoding="utf-8")
    return found


def _measure(
    source: Path, progress: Progress, fold_count: int, seed: int, command: str
) -> tuple[Exploration, Material]:
    step = progress.add_task("finding films", total=None)
    listed = dataset.find_films(source)
    others, not_counted = _other_splits(source)
    progress.update(step, description="reading films", total=len(listed))
    films, files, refused = _decode(listed, lambda: progress.advance(step))
    names = tuple(_name(source, film) for film in films.films)
    unreadable = tuple(Unreadable(film=_name(source, film), reason=reason) for film, reason in refused)

    step = progress.add_task("measuring", total=4)
    values = _values(films, files)
    progress.advance(step)
    same = duplicates.identical(films.films)
    alike = duplicates.neighbours(films.films, films.pixels, CLOSEST_PAIRS)
    progress.advance(step)
    assigned, no_folds = _assign(films, fold_count, seed)
    scores, auc = _style_scores(films, seed)
    _, border_auc = _style_scores(replace(films, pixels=np.where(_inside(), 0, films.pixels)), seed)
    progress.advance(step)
    components, explained, clusters = _styles(films, seed)
    progress.advance(step)

    split = _split_name(source)
    found = Exploration(
        command=command,
        films_sha256=list_digest(films.films),
        name=split,
        splits={split: Count.of(listed)} | {name: Count.of(each) for name, each in others.items()},
        not_counted=not_counted,
        shared={name: _shared(listed, each) for name, each in others.items()},
        passed_over=_passed_over(source),
        unreadable=unreadable,
        films=Count.of(films.films),
        patients=_patients(films.films),
        sizes=_sizes(films, files),
        measures={name: _summed_up(name, films, values[name]) for name in _MEASURES},
        histograms=_histograms(films),
        mean_films=_mean_films(films),
        identical=_duplicates(films.films, names, same, assigned),
        near=NearDuplicates(
            **_duplicates(films.films, names, alike.groups, assigned).model_dump(),
            limit=duplicates.LIMIT,
            bits=duplicates.BITS,
            closest=tuple(
                Pair(films=(names[one], names[other]), distance=bits) for one, other, bits in alike.closest
            ),
            nearest=dict(sorted(Counter(alike.nearest.tolist()).items())),
        ),
        style=Style(
            auc=auc,
            border_auc=border_auc,
            explained=explained,
            clusters=_clusters(films, clusters, values["brightness"]),
        ),
        folds=None if assigned is None else _folds(films.films, assigned, seed),
        no_folds=no_folds,
    )
    material = Material(films, names, values, components, scores, clusters, assigned, alike.closest)
    return found.model_copy(update={"findings": findings.of(found)}), material


def _other_splits(source: Path) -> tuple[dict[str, list[Film]], dict[str, str]]:
    """Films of the splits beside the one to train on, and the folders that cannot be counted, with the reason."""
    found: dict[str, list[Film]] = {}
    refused: dict[str, str] = {}
    if _split_name(source) != "train":
        return found, refused
    for folder in sorted(path for path in source.iterdir() if path.name != "train"):
        if not _is_folder_of_classes(folder):
            continue
        try:
            found[_text(folder.name)] = dataset.find_films(folder)
        except DatasetError as error:
            refused[_text(folder.name)] = _text(str(error).replace(f"{source}{os.sep}", ""))
    return found, refused


def _is_folder_of_classes(folder: Path) -> bool:
    return any((folder / label).is_dir() for label in LABELS)


def _split_name(source: Path) -> str:
    return "films" if source.is_file() or _is_folder_of_classes(source) else "train"


def _passed_over(source: Path) -> tuple[str, ...]:
    """Files of the class folders that are not read, as their name is not that of a JPEG or PNG."""
    if source.is_file():
        return ()
    folder = source if _is_folder_of_classes(source) else source / "train"
    return tuple(
        _text(path.relative_to(source).as_posix())
        for label in LABELS
        for path in sorted((folder / label).iterdir())
        if path.suffix.lower() not in SUFFIXES
    )


def _decode(
    listed: Sequence[Film], advance: Callable[[], None]
) -> tuple[Dataset, list["_File"], list[tuple[Film, str]]]:
    """The films that can be read, what is known of their files, and the others with the reason."""
    pixels = np.empty((len(listed), SOURCE_SIZE, SOURCE_SIZE), np.uint8)
    readable: list[Film] = []
    files: list[_File] = []
    refused: list[tuple[Film, str]] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for film, outcome in zip(listed, pool.map(_read, listed), strict=True):
            if isinstance(outcome, str):
                refused.append((film, outcome))
            else:
                pixels[len(readable)], file = outcome
                readable.append(film)
                files.append(file)
            advance()
    for label, name in enumerate(LABELS):
        if not any(film.label == label for film in readable):
            raise DatasetError(f"None of the {name} films can be read; the first: {refused[0][1]}")
    return Dataset(tuple(readable), pixels[: len(readable)]), files, refused


@dataclass(frozen=True, slots=True)
class _File:
    width: int
    height: int
    format: str
    exposure: Exposure
    size: int


def _read(film: Film) -> tuple[Pixels, _File] | str:
    """Pixels of a film and what is known of its file, or why it cannot be read."""
    try:
        data = film.path.read_bytes()
        read_film = read(data, size=SOURCE_SIZE)
    except ImagingError as error:
        return str(error)
    except OSError as error:
        return error.strerror or "The file cannot be opened."
    kind = f"{read_film.format}, {read_film.bits} bits"
    return read_film.pixels, _File(read_film.width, read_film.height, kind, read_film.exposure, len(data))


def _values(films: Dataset, files: Sequence[_File]) -> dict[str, Array]:
    """Every measure of `_MEASURES`: float64 [films] each."""
    width, height = (
        np.array([getattr(file, side) for file in files], np.float64) for side in ("width", "height")
    )
    return {
        "width": width,
        "height": height,
        "aspect ratio": width / height,
        "file size": np.array([file.size / 1000 for file in files]),
        "brightness": np.array([file.exposure.brightness for file in files]),
        "contrast": np.array([file.exposure.contrast for file in files]),
        "sharpness": np.array([laplace(film.astype(np.float32)).var() for film in films.pixels], np.float64),
        "black": (films.pixels < BLACK).mean(axis=(1, 2)),
    }


def _summed_up(name: str, films: Dataset, values: Array) -> Measure:
    unit, group = _MEASURES[name]
    spread = {kind: _spread(values[films.kinds == kind]) for kind in KINDS if kind in films.kinds}
    return Measure(
        unit=unit,
        group=group,
        spread=spread | {"all": _spread(values)},
        auc=float(roc_auc_score(films.labels, values)),
    )


def _spread(values: Array) -> Spread:
    low, median, high = np.percentile(values, (5, 50, 95))
    return Spread(low=float(low), median=float(median), high=float(high))


def _patients(films: Sequence[Film]) -> Patients:
    counts = Counter(film.patient for film in films)
    by_kind = {kind: {film.patient for film in films if film.kind == kind} for kind in KINDS}
    classes = [{film.patient for film in films if film.label == label} for label in (0, 1)]
    return Patients(
        patients={kind: len(patients) for kind, patients in by_kind.items() if patients}
        | {"all": len(counts)},
        films_a_patient=dict(sorted(Counter(counts.values()).items())),
        with_several=sum(count > 1 for count in counts.values()),
        most=max(counts.values()),
        in_both_classes=tuple(_text(patient) for patient in sorted(classes[0] & classes[1])),
    )


def _shared(films: Sequence[Film], others: Sequence[Film]) -> Shared:
    digests = {film.digest for film in films}
    return Shared(
        identical_films=sum(film.digest in digests for film in others),
        patients=len({film.patient for film in films} & {film.patient for film in others}),
    )


def _sizes(films: Dataset, files: Sequence[_File]) -> Sizes:
    sizes = Counter(f"{file.width} × {file.height}" for file in files)
    formats: dict[str, Counter[str]] = {}
    for film, file in zip(films.films, files, strict=True):
        formats.setdefault(file.format, Counter())[film.kind] += 1
    return Sizes(
        sizes=dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:_LISTED_SIZES]),
        distinct=len(sizes),
        enlarged=sum(min(file.width, file.height) < SOURCE_SIZE for file in files),
        formats={name: dict(sorted(formats[name].items())) for name in sorted(formats)},
    )


def _histograms(films: Dataset) -> dict[str, tuple[float, ...]]:
    """Mean share of each grey level, by class."""
    shares = (
        np.stack([np.bincount(film.ravel(), minlength=256) for film in films.pixels]) / films.pixels[0].size
    )
    return {
        name: tuple(shares[films.labels == label].mean(axis=0).tolist()) for label, name in enumerate(CLASSES)
    }


def _mean_films(films: Dataset) -> MeanFilms:
    normal, pneumonia = (films.pixels[films.labels == label].mean(axis=0) for label in (0, 1))
    difference = pneumonia - normal
    inside = _inside()
    return MeanFilms(
        difference=float(difference.mean()),
        border=float(np.abs(difference[~inside]).mean()),
        inside=float(np.abs(difference[inside]).mean()),
    )


def _inside() -> npt.NDArray[np.bool_]:
    """The square but for its outer eighth on each side: bool, [SOURCE_SIZE, SOURCE_SIZE]."""
    edge = SOURCE_SIZE // slices.THUMBNAIL
    inside = np.zeros((SOURCE_SIZE, SOURCE_SIZE), np.bool_)
    inside[edge:-edge, edge:-edge] = True
    return inside


def _style_scores(films: Dataset, seed: int) -> tuple[Array | None, Estimate | None]:
    """Style scores and their AUC; none where a class has too few patients."""
    try:
        scores = slices.style_scores(films, seed)
    except DatasetError:
        return None, None
    return scores, evaluate(Scored.of(films, scores), 0.5, seed=seed).auc


def _duplicates(
    films: Sequence[Film], names: Sequence[str], groups: Sequence[Indices], assigned: Indices | None
) -> Duplicates:
    def across(values: Sequence[object]) -> int:
        return sum(len({values[place] for place in members}) > 1 for members in groups)

    return Duplicates(
        groups=tuple(tuple(names[place] for place in members) for members in groups),
        films=sum(map(len, groups)),
        across_classes=across([film.label for film in films]),
        across_patients=across([film.patient for film in films]),
        across_folds=None if assigned is None else across(assigned.tolist()),
    )


def _styles(films: Dataset, seed: int) -> tuple[Array, tuple[float, float], Indices]:
    """Two principal components of the thumbnails (float64 [films, 2]), the variance on them, and clusters.

    Clusters (int64 [films]) are numbered by their share of pneumonia, the smallest first.
    """
    values = StandardScaler().fit_transform(slices.thumbnails(films.pixels))
    analysis = PCA(2)
    components = analysis.fit_transform(values)
    first, second = np.nan_to_num(analysis.explained_variance_ratio_).tolist()
    count = min(CLUSTERS, len(np.unique(values, axis=0)))
    found = KMeans(count, n_init=10, random_state=seed).fit_predict(values)
    shares = [films.labels[found == number].mean() for number in range(count)]
    return components, (first, second), np.argsort(np.argsort(shares, kind="stable"))[found]


def _clusters(films: Dataset, clusters: Indices, brightness: Array) -> tuple[Cluster, ...]:
    found = []
    for number in range(int(clusters.max()) + 1):
        members = np.flatnonzero(clusters == number)
        count = Count.of([films.films[place] for place in members])
        found.append(Cluster(count=count, brightness=float(brightness[members].mean())))
    return tuple(found)


def _assign(films: Dataset, count: int, seed: int) -> tuple[Indices | None, str]:
    """Fold of each film, or None and why there are none."""
    try:
        return folds.split(films.films, count, seed), ""
    except DatasetError as error:
        return None, str(error)


def _folds(films: Sequence[Film], assigned: Indices, seed: int) -> Folds:
    def straddling(values: Sequence[str]) -> int:
        places = Counter(value for value, _ in set(zip(values, assigned.tolist(), strict=True)))
        return sum(count > 1 for count in places.values())

    return Folds(
        seed=seed,
        folds=tuple(
            Count.of([film for film, fold in zip(films, assigned, strict=True) if fold == number])
            for number in range(int(assigned.max()) + 1)
        ),
        straddling_patients=straddling([film.patient for film in films]),
        straddling_files=straddling([film.digest for film in films]),
    )


def _name(source: Path, film: Film) -> str:
    """Name of a film without where the folder lies."""
    root = source.parent if source.is_file() else source
    path = film.path.relative_to(root).as_posix() if film.path.is_relative_to(root) else film.path.name
    return _text(path)


def _text(name: str) -> str:
    """A file's name as Unicode, whatever its bytes."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


def _save_films(path: Path, material: Material) -> None:
    """One row a film: its name, label, kind, patient, measures, fold, style score and cluster."""
    with path.open("w", newline="", encoding="utf-8") as lines:
        rows = csv.writer(lines)
        rows.writerow(
            ["path", "label", "kind", "patient", *material.values, "fold", "style_score", "cluster", "sha256"]
        )
        for place, film in enumerate(material.films.films):
            rows.writerow(
                [
                    material.names[place],
                    LABELS[film.label],
                    film.kind,
                    _text(film.patient),
                    *(f"{values[place]:.6g}" for values in material.values.values()),
                    "" if material.folds is None else material.folds[place],
                    "" if material.scores is None else f"{material.scores[place]:.6f}",
                    material.clusters[place] + 1,
                    film.digest,
                ]
            )
