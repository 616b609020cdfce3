"""Archives of synthetic films, and the command in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tests import dicom_films, radiographs

PYTHON = sys.executable
ROOT = Path(__file__).parents[2]
FILM = radiographs.jpeg(radiographs.draw(seed=1, opacity=True) // 2 + 110)
DARK = radiographs.png(np.random.default_rng(0).integers(40, 80, (64, 64)).astype(np.uint8))
LATERAL = dicom_films.film(
    radiographs.draw(seed=2), ViewPosition="LL", PatientName="Doe^Jane", PatientAge="040Y"
)
GOOD = {
    "a/film.jpg": FILM,
    "a/dark.PNG": DARK,
    "b/c/IM0001": dicom_films.encoded(LATERAL),
    "b/white.png": radiographs.png(np.full((64, 64), 255, np.uint8)),
}
BAD = {
    "bad/cut.jpg": (FILM[: len(FILM) // 2], "unreadable-image"),
    "bad/empty.png": (b"", "unreadable-image"),
    "bad/letter": (b"Dear colleague", "unsupported-image"),
    "bad/knee.dcm": (
        dicom_films.encoded(dicom_films.film(radiographs.draw(), BodyPartExamined="KNEE")),
        "unsuitable-film",
    ),
    "bad/vast.png": (radiographs.png_claiming(60_000, 60_000), "too-many-pixels"),
}


def write(folder: Path, films: dict[str, bytes]) -> Path:
    """The films as files below `folder`."""
    for name, content in films.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def fill(folder: Path, films: int, content: bytes) -> Path:
    """So many copies of a film below `folder`."""
    return write(folder, {f"ward-{number % 3}/{number:05}.jpg": content for number in range(films)})


def start(*arguments: object, **settings: str) -> "subprocess.Popen[str]":
    """`python -m bulk` with these arguments and settings, under way."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PNEUMOSCOPE")}
    return subprocess.Popen(
        [PYTHON, "-m", "bulk", *map(str, arguments)],
        cwd=ROOT,
        env=kept | {f"PNEUMOSCOPE_{name}": value for name, value in settings.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: object, **settings: str) -> "subprocess.CompletedProcess[str]":
    """The same, ended."""
    process = start(*arguments, **settings)
    printed, said = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, printed, said)


def rows(output: Path, folder: str = "findings") -> list[dict[str, Any]]:
    """The rows that are in OUTPUT, in the order of its files."""
    paths = sorted((output / folder).glob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def done(output: Path) -> int:
    """How many shards are done."""
    return len(list((output / "findings").glob("[0-9]*.parquet")))
