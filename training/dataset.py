"""Films on disk → labelled films in memory, through the service's own decoder.

Reads the public layout (`DIR/train/NORMAL`, `DIR/train/PNEUMONIA`, `DIR/test/…`), any folder with
`NORMAL` and `PNEUMONIA` below it, or a CSV with the columns `path` and `label` (and, if known, `patient`).
"""

import csv
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.imaging import ImagingError, read

LABELS = ("NORMAL", "PNEUMONIA")
SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})
SOURCE_SIZE = 224
"""Films are kept at this side; smaller training sizes are made from it."""

Kind = Literal["normal", "bacterial", "viral", "unknown"]
Pixels = npt.NDArray[np.uint8]

_PATIENT = re.compile(r"^(?:person|(?:NORMAL\d*-)?IM-)0*(\d+)", re.IGNORECASE)


class DatasetError(ValueError):
    """The films are not there, or not as they should be; the message names which."""


@dataclass(frozen=True, slots=True)
class Film:
    """One labelled film on disk.

    `label`: 1 pneumonia, 0 normal. `patient`: whom films share; `digest`: SHA-256 of the file's bytes.
    """

    path: Path
    label: int
    kind: Kind
    patient: str
    digest: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """Films with their pixels: uint8, [films, size, size], 0 black, in the order of `films`.

    `slices`: masks, bool [films], of the films that are also judged by themselves (`training.slices`).
    """

    films: tuple[Film, ...]
    pixels: Pixels
    slices: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.films)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """1 pneumonia, 0 normal; int64, [films]."""
        return np.array([film.label for film in self.films], np.int64)

    @property
    def kinds(self) -> npt.NDArray[np.str_]:
        """`normal`, `bacterial`, `viral` or `unknown`; str, [films]."""
        return np.array([film.kind for film in self.films], np.str_)

    @property
    def patients(self) -> npt.NDArray[np.str_]:
        """Patient of each film; str, [films]."""
        return np.array([film.patient for film in self.films], np.str_)

    def subset(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> "Dataset":
        """The films at `chosen` (a mask or indices)."""
        indices = np.arange(len(self))[chosen]
        slices = {name: mask[indices] for name, mask in self.slices.items()}
        return Dataset(tuple(self.films[i] for i in indices), self.pixels[indices], slices)

    def resized(self, size: int) -> Pixels:
        """Pixels at another side: uint8, [films, size, size]."""
        if size == self.pixels.shape[1]:
            return self.pixels
        squares = (
            Image.fromarray(film).resize((size, size), Image.Resampling.BILINEAR) for film in self.pixels
        )
        return np.stack([np.asarray(square) for square in squares])


def find_films(source: Path, split: str = "train") -> list[Film]:
    """Films of `source`: a data set's folder (then of its `split`), a folder of classes, or a CSV.

    Raises:
        DatasetError: a folder is missing or empty, or a CSV lacks a column or a file.
    """
    if source.is_file() and source.suffix.lower() == ".csv":
        return _films_of_csv(source)
    if not source.is_dir():
        raise DatasetError(f"There is no folder {source}.")
    is_folder_of_classes = any((source / label).is_dir() for label in LABELS)
    return _films_of_folder(source if is_folder_of_classes else source / split)


def load(films: Sequence[Film], advance: Callable[[], None] = lambda: None) -> Dataset:
    """Decode every film, calling `advance` after each.

    Raises:
        DatasetError: files that cannot be read, all of them named.
    """
    pixels = np.empty((len(films), SOURCE_SIZE, SOURCE_SIZE), np.uint8)
    unreadable = []
    for place, film in enumerate(films):
        try:
            pixels[place] = read(film.path.read_bytes(), size=SOURCE_SIZE).pixels
        except (ImagingError, OSError) as error:
            unreadable.append(f"{film.path}: {error}")
        advance()
    if unreadable:
        shown = "\n  ".join(unreadable[:20])
        more = f"\n  and {len(unreadable) - 20} more" if len(unreadable) > 20 else ""
        raise DatasetError(f"{len(unreadable)} films cannot be read:\n  {shown}{more}")
    return Dataset(tuple(films), pixels)


def list_digest(films: Sequence[Film]) -> str:
    """SHA-256 over the sorted `digest label` lines of the films: names the set, whatever its folder."""
    lines = sorted(f"{film.digest} {film.label}\n" for film in films)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def kind_of(name: str, label: int) -> Kind:
    """Kind of pneumonia, from the file names of the public data set."""
    if label == 0:
        return "normal"
    if "bacteria" in name.lower():
        return "bacterial"
    if "virus" in name.lower():
        return "viral"
    return "unknown"


def patient_of(name: str) -> str:
    """Patient number in a file name of the public data set; the name itself where there is none.

    The numbers restart for some kinds and prefixes; the number alone is taken, so that films which may be
    of one patient are never parted.
    """
    match = _PATIENT.match(name)
    return match.group(1) if match else Path(name).stem


def _films_of_folder(folder: Path) -> list[Film]:
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {folder}.")
    films = []
    for label, name in enumerate(LABELS):
        of_class = folder / name
        if not of_class.is_dir():
            raise DatasetError(f"There is no folder {of_class}.")
        paths = sorted(path for path in of_class.iterdir() if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise DatasetError(f"The folder {of_class} holds no JPEG or PNG film.")
        films += [_film(path, label, patient_of(path.name)) for path in paths]
    return films


def _films_of_csv(table: Path) -> list[Film]:
    films = []
    with table.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        missing = {"path", "label"} - set(rows.fieldnames or ())
        if missing:
            raise DatasetError(f"{table} lacks the column {' and '.join(sorted(missing))}.")
        for number, row in enumerate(rows, start=2):
            path = table.parent / row["path"]
            if not path.is_file():
                raise DatasetError(f"{table}, line {number}: there is no file {path}.")
            films.append(
                _film(path, _label(row["label"], table, number), row.get("patient") or patient_of(path.name))
            )
    if not films:
        raise DatasetError(f"{table} names no film.")
    return films


def _label(text: str, table: Path, number: int) -> int:
    known = {"NORMAL": 0, "0": 0, "PNEUMONIA": 1, "1": 1}
    label = known.get((text or "").strip().upper())
    if label is None:
        raise DatasetError(f"{table}, line {number}: the label is none of {', '.join(known)}.")
    return label


def _film(path: Path, label: int, patient: str) -> Film:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DatasetError(f"The film {path} cannot be read: {error.strerror}.") from error
    return Film(path, label, kind_of(path.name, label), patient, digest)
