from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import pytest

from app.engine.errors import DeviceFailed
from app.local.films import FilmFile
from app.local.judging import Judgement, judge
from app.settings import Settings
from tests.app.live import Gate, gated


def many(film: bytes, number: int) -> list[FilmFile]:
    return [FilmFile(Path(f"film-{place}"), PurePath(f"film-{place}"), film) for place in range(number)]


def test_many_films_are_judged_in_batches_and_told_in_order(tiny_folder: Path, film: bytes) -> None:
    classifier, gate = gated(tiny_folder)
    told: list[Judgement] = []
    films = many(film, 60)
    settings = Settings(model_dir=tiny_folder, max_batch=4, max_queue=1)
    judge(settings, classifier, films, on_judgement=told.append)
    assert [judgement.film for judgement in told] == films
    assert all(judgement.prediction is not None for judgement in told)
    while_warming = [1, 1, 1, 2, 2, 4, 4]
    assert gate.batches[: len(while_warming)] == while_warming
    assert len(gate.batches) - len(while_warming) < 60, "films shared runs"


def test_no_more_films_are_held_in_memory_than_keep_the_device_busy(tiny_folder: Path, film: bytes) -> None:
    class Counted(FilmFile):
        def read(self, max_bytes: int) -> bytes:
            begun.append(self)
            return film

    begun: list[FilmFile] = []
    most = 0

    def note(judgement: Judgement) -> None:
        nonlocal most
        told.append(judgement)
        most = max(most, len(begun) - len(told))

    told: list[Judgement] = []
    classifier, _ = gated(tiny_folder)
    settings = Settings(model_dir=tiny_folder, max_batch=2, decode_workers=2)
    judge(
        settings, classifier, [Counted(Path(str(n)), PurePath(str(n))) for n in range(200)], on_judgement=note
    )
    assert len(told) == 200
    assert most <= 2 * 2 + 2


def test_a_device_that_fails_from_the_start_ends_it(tiny_folder: Path, film: bytes) -> None:
    classifier, gate = gated(tiny_folder)
    gate.broken = True
    with pytest.raises(DeviceFailed):
        judge(Settings(model_dir=tiny_folder), classifier, many(film, 2), on_judgement=lambda _: None)


def failing_runs(gate: Gate, count: int) -> Callable[[], None]:
    """Makes the device fail from the moment this is called on, for so many runs."""
    left = 0

    def before(_pixels: Any) -> None:
        nonlocal left
        if left:
            left -= 1
            raise RuntimeError("CUDA error: the device fell off the bus")

    def begin() -> None:
        nonlocal left
        left = count

    gate.before = before
    return begin


def test_a_device_that_is_lost_on_the_way_costs_only_the_films_that_it_had(
    tiny_folder: Path, film: bytes
) -> None:
    classifier, gate = gated(tiny_folder)
    lose = failing_runs(gate, 3)
    told: list[Judgement] = []

    def note(judgement: Judgement) -> None:
        told.append(judgement)
        if len(told) == 5:
            lose()

    settings = Settings(model_dir=tiny_folder, max_batch=1, decode_workers=1)
    judge(settings, classifier, many(film, 60), on_judgement=note)
    assert len(told) == 60
    failed = [judgement for judgement in told if judgement.prediction is None]
    assert 0 < len(failed) <= 3
    assert {judgement.code for judgement in failed} == {"device-failed"}
    assert told[-1].prediction is not None


def test_a_device_that_stays_lost_ends_it_and_what_was_judged_is_told(tiny_folder: Path, film: bytes) -> None:
    classifier, gate = gated(tiny_folder)
    lose = failing_runs(gate, 1_000_000)
    told: list[Judgement] = []

    def note(judgement: Judgement) -> None:
        told.append(judgement)
        if len(told) == 5:
            lose()

    settings = Settings(model_dir=tiny_folder, max_batch=1, decode_workers=1, device_timeout_s=1)
    with pytest.raises(DeviceFailed, match="has not run the model for 1 s"):
        judge(settings, classifier, many(film, 60), on_judgement=note)
    assert 5 <= len(told) < 15
