"""What is found in a folder of films before anything is trained on it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from app.engine.manifest import Estimate, Part
from training.dataset import Dataset, Film

KINDS = ("normal", "bacterial", "viral", "unknown")
CLASSES = ("normal", "pneumonia")


class Count(Part):
    """Films by kind; `unknown` is pneumonia whose kind the file name does not tell.

    `patients`: patient numbers, or file names where there is no number.
    """

    films: int
    patients: int
    normal: int
    bacterial: int
    viral: int
    unknown: int

    @classmethod
    def of(cls, films: Sequence[Film]) -> Self:
        """The films of `films`, counted."""
        kinds: Counter[str] = Counter(film.kind for film in films)
        patients = len({film.patient for film in films})
        return cls(films=len(films), patients=patients, **{kind: kinds[kind] for kind in KINDS})

    @property
    def pneumonia(self) -> int:
        """Films of pneumonia, whatever its kind."""
        return self.films - self.normal

    @property
    def share(self) -> float:
        """Share of pneumonia among the films, 0 to 1."""
        return self.pneumonia / self.films


class Shared(Part):
    """What another split shares with the training films: films of identical bytes, and patient numbers."""

    identical_films: int
    patients: int


class Unreadable(Part):
    """A film that the decoder refuses, and why."""

    film: str
    reason: str


class Patients(Part):
    """Films a patient.

    `patients`: by kind and over `all`. `films_a_patient`: how many patients have that many films. `most`: films
    of the patient with the most. `in_both_classes`: patients with normal and with pneumonia films."""

    patients: dict[str, int]
    films_a_patient: dict[int, int]
    with_several: int
    most: int
    in_both_classes: tuple[str, ...]


class Spread(Part):
    """5th, 50th and 95th percentile of a measure over films."""

    low: float
    median: float
    high: float


class Measure(Part):
    """One number a film.

    `group`: of the file, or of the decoded square. `spread`: by kind and over `all`. `auc`: of the number alone
    as a score for pneumonia; under 0.5 where it is lower in pneumonia."""

    unit: str
    group: Literal["file", "square"]
    spread: dict[str, Spread]
    auc: float


class Sizes(Part):
    """Pixels of the files.

    `sizes`: how many films have that width × height, the most frequent 20; `distinct`: how many there are.
    `enlarged`: films with a side shorter than the square that networks are trained on. `formats`: by kind."""

    sizes: dict[str, int]
    distinct: int
    enlarged: int
    formats: dict[str, dict[str, int]]


class MeanFilms(Part):
    """The mean pneumonia film less the mean normal film, grey levels.

    `difference`: over the square. `border`, `inside`: mean absolute difference in the outer eighth on each
    side, and within."""

    difference: float
    border: float
    inside: float


class Duplicates(Part):
    """Groups of films that show the same picture.

    `groups`: the films of each, by name. `films`: in groups altogether. `across_…`: groups with films of two
    classes, patients or folds; `across_folds` is None where there are no folds."""

    groups: tuple[tuple[str, ...], ...]
    films: int
    across_classes: int
    across_patients: int
    across_folds: int | None


class Pair(Part):
    """Two films of different bytes, and in how many bits their hashes differ."""

    films: tuple[str, str]
    distance: int


class NearDuplicates(Duplicates):
    """Groups of different files whose hashes differ in at most `limit` of `bits` bits.

    `closest`: the closest pairs of different files, under the limit or not; `nearest`: how many different files
    have their nearest neighbour at that distance."""

    limit: int
    bits: int
    closest: tuple[Pair, ...]
    nearest: dict[int, int]


class Cluster(Part):
    """Films of one style, by k-means on their thumbnails; the smallest share of pneumonia comes first.

    `brightness`: mean grey level of their decoded squares."""

    count: Count
    brightness: float


class Style(Part):
    """What an 8 × 8 thumbnail tells.

    `auc`: of the style score against the label, out of fold; `border_auc`: likewise from the outer ring of the
    thumbnail alone; both None where a class has too few patients. `explained`: share of the thumbnails' variance
    on the two principal components that are drawn.
    """

    auc: Estimate | None
    border_auc: Estimate | None
    explained: tuple[float, float]
    clusters: tuple[Cluster, ...]


class Folds(Part):
    """The folds that `fit` makes of the readable films.

    `straddling_patients`, `straddling_files`: patients, and sets of identical files, with films in two folds.
    """

    seed: int
    folds: tuple[Count, ...]
    straddling_patients: int
    straddling_files: int


class Finding(Part):
    """What the numbers mean for training.

    `level`: `problem` has to be mended or explained first, `caution` is to be borne in mind, `fine` needs nothing.
    """

    topic: str
    level: Literal["problem", "caution", "fine"]
    text: str


class Exploration(Part):
    """Every number of an exploration.

    `splits`: all that were found, by folder; all else is of `films`, the readable films of the split `name`.
    `not_counted`: folders that look like a split and are none, with the reason. `passed_over`: files of that
    split that are no JPEG or PNG by their name. `histograms`: mean share of each grey level from 0 to 255, by
    class. `folds` is None where a class has too few patients, which `no_folds` then tells."""

    command: str
    films_sha256: str
    name: str
    splits: dict[str, Count]
    not_counted: dict[str, str]
    shared: dict[str, Shared]
    passed_over: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]
    films: Count
    patients: Patients
    sizes: Sizes
    measures: dict[str, Measure]
    histograms: dict[str, tuple[float, ...]]
    mean_films: MeanFilms
    identical: Duplicates
    near: NearDuplicates
    style: Style
    folds: Folds | None
    no_folds: str
    findings: tuple[Finding, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds that have films."""
        return tuple(kind for kind in KINDS if getattr(self.films, kind))

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Material:
    """The films behind the numbers; all arrays in the order of `films`.

    `names`: of the films, relative to their folder. `values`: float64 [films] by measure. `components`: the
    thumbnails' two principal components, float64 [films, 2]. `scores`: style scores, float64 [films], None
    where a class has too few patients. `clusters`: int64 [films]. `folds`: int64 [films], or None likewise.
    `closest`: pairs of films with the bits between their hashes."""

    films: Dataset
    names: tuple[str, ...]
    values: dict[str, npt.NDArray[np.float64]]
    components: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64] | None
    clusters: npt.NDArray[np.int64]
    folds: npt.NDArray[np.int64] | None
    closest: list[tuple[int, int, int]]


def overview(found: Exploration) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table that sums up the films, by kind and altogether."""
    columns = [*found.kinds, "all"]
    rows = [
        ["films", *(str(getattr(found.films, kind)) for kind in found.kinds), str(found.films.films)],
        ["patients", *(str(found.patients.patients[column]) for column in columns)],
    ]
    for name, formats in found.sizes.formats.items():
        counts = [formats.get(kind, 0) for kind in found.kinds]
        rows.append([name, *map(str, counts), str(sum(counts))])
    for name, measure in found.measures.items():
        rows.append([f"{name}, {measure.unit}", *(_spread(measure.spread[column]) for column in columns)])
    return ["", *columns], rows


def _spread(spread: Spread) -> str:
    return f"{_number(spread.median)} ({_number(spread.low)}–{_number(spread.high)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
