"""Which files are judged: those that are named, and the films in folders that are named."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

STANDARD_INPUT = Path("-")
HEATMAP_ENDING = ".heatmap.png"
"""How the names of pictures with heat maps end, so that no later run takes them for films."""

_FILM_SUFFIXES = {".jpg", ".jpeg", ".png", ".dcm", ".dicom"}
_SIGNATURES = {(0, b"\xff\xd8\xff"), (0, b"\x89PNG\r\n\x1a\n"), (128, b"DICM")}
_HEAD_BYTES = 132
_DICOM_INDEX = "DICOMDIR"


@dataclass(frozen=True, slots=True)
class FilmFile:
    """A file to judge.

    `path`: where it is. `inside`: its path inside the folder that was named, or its bare name. `content`: what
    standard input held, None of any other file.
    """

    path: Path
    inside: PurePath
    content: bytes | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Its path as text."""
        return as_text(self.path)

    def read(self, max_bytes: int) -> bytes:
        """Its content, but no more than one byte beyond `max_bytes`.

        Raises:
            OSError: it cannot be opened or read.
        """
        if self.content is not None:
            return self.content
        with self.path.open("rb") as file:
            return file.read(max_bytes + 1)


@dataclass(frozen=True, slots=True)
class Found:
    """The files to judge, in order, and how many in folders were left out since they are no films."""

    films: list[FilmFile]
    left_out: int


def as_text(path: Path) -> str:
    """A path as text that every output can take, also where its name is not UTF-8."""
    return os.fsencode(path).decode(errors="replace")


def find(paths: Sequence[Path], *, recursive: bool, max_bytes: int) -> Found:
    """The files that `paths` mean.

    A file that is named is taken whatever it is. Of a folder, what is hidden, what neither its name nor its
    first bytes make a film, and pictures that an earlier run painted are left out. A path or a folder that
    cannot be opened is taken too: that is told when it is judged.

    Args:
        paths: files, folders, and `-` for standard input, which is read here.
        recursive: whether to go into folders inside folders.
        max_bytes: of standard input no more than one byte beyond this is read.
    """
    films: list[FilmFile] = []
    left_out = 0
    for path in paths:
        if path == STANDARD_INPUT:
            films.append(FilmFile(path, PurePath("stdin"), sys.stdin.buffer.read(max_bytes + 1)))
        elif _is(path, folder=True):
            for inner in _files(path, recursive=recursive):
                if _is_film(inner):
                    films.append(FilmFile(inner, inner.relative_to(path)))
                else:
                    left_out += 1
        else:
            films.append(FilmFile(path, PurePath(path.name)))
    return Found(films, left_out)


def heatmap_places(films: Sequence[FilmFile], folder: Path) -> list[Path]:
    """Where in `folder` the picture of each film goes; no two share a place."""
    taken: set[PurePath] = set()
    places = []
    for film in films:
        place, number = film.inside, 1
        while place in taken:
            number += 1
            place = film.inside.parent / f"{film.inside.name}-{number}"
        taken.add(place)
        places.append(folder / place.parent / (place.name + HEATMAP_ENDING))
    return places


def _files(folder: Path, *, recursive: bool) -> Iterator[Path]:
    """The files in a folder that are not hidden, sorted, and the folders that cannot be opened."""
    locked: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=lambda error: locked.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and _is(path, folder=False):
                yield path
    yield from locked


def _is(path: Path, *, folder: bool) -> bool:
    """Whether it is a folder, or else a plain file; one that cannot be looked at is taken for a file."""
    try:
        return path.is_dir() if folder else path.is_file()
    except OSError:
        return not folder


def _is_film(path: Path) -> bool:
    if path.name.endswith(HEATMAP_ENDING) or path.name == _DICOM_INDEX:
        return False
    if path.suffix.lower() in _FILM_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return True
    return any(head.startswith(signature, start) for start, signature in _SIGNATURES)
