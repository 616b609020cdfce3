from pathlib import Path

import numpy as np
import pytest

from app.engine.classifier import Classifier
from tests import tiny_model
from training.dataset import Dataset, Pixels
from training.probes import PROBES, ProbeError, draw_probes, probes, score_probes

COUNT = 3


@pytest.fixture(scope="module")
def pictures(films: Dataset) -> dict[str, Pixels]:
    return probes(films, COUNT)


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    """Of the tiny model, whose novelty is a picture's mean level."""
    (tmp_path / "model.onnx").write_bytes(tiny_model.build())
    return Classifier.open_file(tmp_path / "model.onnx")


def test_every_kind_has_its_pictures_and_no_two_kinds_are_alike(pictures: dict[str, Pixels]) -> None:
    assert set(pictures) == set(PROBES)
    for name, squares in pictures.items():
        assert squares.dtype == np.uint8, name
        assert squares.shape == (COUNT, 224, 224), name
    assert len({squares.tobytes() for squares in pictures.values()}) == len(PROBES)


def test_the_same_seed_gives_the_same_pictures(films: Dataset, pictures: dict[str, Pixels]) -> None:
    again, other = probes(films, COUNT), probes(films, COUNT, seed=1)
    assert all(np.array_equal(again[name], pictures[name]) for name in PROBES)
    assert not any(np.array_equal(other[name], pictures[name]) for name in PROBES if name != "blank")


def test_films_are_turned_as_their_names_say(films: Dataset, pictures: dict[str, Pixels]) -> None:
    originals = {film.tobytes() for film in films.pixels}
    for name, restored in (
        ("inverted", 255 - pictures["inverted"]),
        ("turned by 180°", pictures["turned by 180°"][:, ::-1, ::-1]),
        ("mirrored", pictures["mirrored"][:, :, ::-1]),
        ("upside down", pictures["upside down"][:, ::-1]),
    ):
        assert all(film.tobytes() in originals for film in restored), name
    for picture in pictures["turned by 90°"]:
        assert {np.rot90(picture, 1).tobytes(), np.rot90(picture, 3).tobytes()} & originals


def test_more_pictures_than_films_take_films_twice(films: Dataset) -> None:
    few = films.subset(np.arange(2))
    assert len(probes(few, 5)["inverted"]) == 5


def test_outcomes_tell_novelty_and_exposure_apart(classifier: Classifier) -> None:
    dark, bright = np.full((2, 64, 64), 4, np.uint8), np.full((2, 64, 64), 250, np.uint8)
    bright[:, :32] = 242
    night, day = score_probes(classifier, {"night": dark, "day": bright})
    assert (night.kind, day.kind) == ("night", "day")
    assert night.ratios == pytest.approx([4 / tiny_model.NOVELTY_LIMIT] * 2)
    assert not night.review["novel"].any()
    assert night.review["exposure"].all()
    assert day.review["novel"].all()
    assert not day.review["exposure"].any()


def test_every_picture_is_judged_by_the_services_own_engine(
    classifier: Classifier, pictures: dict[str, Pixels]
) -> None:
    outcomes = {outcome.kind: outcome for outcome in score_probes(classifier, pictures)}
    assert list(outcomes) == list(PROBES)
    levels = pictures["blank"].mean(axis=(1, 2)) / tiny_model.NOVELTY_LIMIT
    assert outcomes["blank"].ratios == pytest.approx(levels, abs=0.01)
    for outcome in outcomes.values():
        assert np.array_equal(outcome.review["novel"], outcome.ratios > 1), outcome.kind


def test_a_file_that_tells_no_novelty_is_refused(tmp_path: Path, pictures: dict[str, Pixels]) -> None:
    (tmp_path / "model.onnx").write_bytes(tiny_model.build(tiny_model.manifest(novelty=None), novelty=False))
    with pytest.raises(ProbeError, match="tells no novelty"):
        score_probes(Classifier.open_file(tmp_path / "model.onnx"), pictures)


def test_pictures_are_drawn(classifier: Classifier, pictures: dict[str, Pixels], tmp_path: Path) -> None:
    outcomes = score_probes(classifier, pictures)
    assert draw_probes(tmp_path / "probes.png", outcomes, 100.0).stat().st_size > 5000
