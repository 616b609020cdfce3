"""Archives of synthetic films, and the command in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tests import dicom_films, radiographs

PYTHON = sys.executable
ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 300.0
"""Ray starts a dozen processes: ten seconds on two idle cores, many times that on busy ones."""
LIGHT = str(Path(__file__).parent / "light")
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


@contextmanager
def under_way(*arguments: object, **settings: str) -> Iterator["subprocess.Popen[str]"]:
    """`python -m bulk` with these arguments and settings; killed at the end if it still runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PNEUMOSCOPE")}
    # Ray's workers step back before everything else on the machine, and tests would wait for that.
    kept |= {"PYTHONPATH": LIGHT, "RAY_worker_niceness": "0"}
    process = subprocess.Popen(
        [PYTHON, "-m", "bulk", *map(str, arguments)],
        cwd=ROOT,
        env=kept | {f"PNEUMOSCOPE_{name}": value for name, value in settings.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def first_shard_done(process: "subprocess.Popen[str]", output: Path) -> None:
    """Wait until the workers have started and a shard is done."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done(output):
        if process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError("no shard was done")
        time.sleep(0.005)


def run(*arguments: object, **settings: str) -> "subprocess.CompletedProcess[str]":
    """The same, ended."""
    with under_way(*arguments, **settings) as process:
        printed, said = process.communicate(timeout=PATIENCE_SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, printed, said)


def rows(output: Path, folder: str = "findings") -> list[dict[str, Any]]:
    """The rows that are in OUTPUT, in the order of its files."""
    paths = sorted((output / folder).glob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def done(output: Path) -> int:
    """How many shards are done."""
    return len(list((output / "findings").glob("[0-9]*.parquet")))
