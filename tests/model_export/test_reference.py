"""The reference for drift: measured as the service judges, written without touching anything else."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from app.engine.classifier import Classifier
from app.engine.errors import ModelFileError
from app.engine.finding import Finding
from app.engine.manifest import Manifest, Training
from app.engine.model_file import read_manifest
from app.engine.signals import EDGES
from app.imaging import read
from app.settings import Settings
from model_export.reference import (
    NoReference,
    decoded,
    held_out_paths,
    held_out_source,
    measure,
    replace_files,
    spread,
    with_reference,
    write_reference,
)
from tests import radiographs, tiny_model
from tests.app.live import ROOT, running
from tests.training.conftest import write_films
from training.dataset import find_films, load
from training.fit import partition
from training.recipe import Recipe

FILMS = 12


def manifest_of(file: Path) -> Manifest:
    metadata = onnx.load(file).metadata_props
    return read_manifest({entry.key: entry.value for entry in metadata})


def without_manifest(content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    del model.metadata_props[:]
    stripped: bytes = model.SerializeToString()
    return stripped


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with the tiny model in both precisions, each with a threshold of its own."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(tiny_model.build())
    (folder / "model.int8.onnx").write_bytes(tiny_model.build(tiny_model.manifest(precision="int8")))
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital's folder: films in folders, from dark to bright, one that is damaged, and a text."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "ward").mkdir()
    film = radiographs.draw(96, 80)
    for number, share in enumerate(np.linspace(0.2, 1.6, FILMS)):
        brighter = np.clip(film * share, 0, 255).astype(np.uint8)
        (folder / "ward" / f"{number}.png").write_bytes(radiographs.png(brighter))
    (folder / "cut short.jpg").write_bytes(radiographs.jpeg(film)[:200])
    (folder / "notes.txt").write_text("no film")
    return folder


def test_shares_are_counted_as_prometheus_counts_its_buckets() -> None:
    found = spread("brightness", [16.0, 16.5, 100.0, 250.0])
    shares = dict(zip(found.edges, found.shares, strict=True))
    assert (shares[16.0], shares[32.0], shares[96.0], shares[104.0], shares[240.0]) == (
        0.25, 0.5, 0.5, 0.75, 0.75,
    )  # fmt: skip


def test_a_reference_is_what_the_service_would_count(model: Path, films: Path) -> None:
    reference = write_reference(model, films=films, data=None, source="a ward")[model / "model.onnx"]
    assert reference.films == FILMS
    with running(Settings(model_dir=model, precision="float16")) as live:
        reviews = [live.predict(path.read_bytes()).json()["review"] for path in sorted(films.rglob("*.png"))]
        served = {
            (sample.name, sample.labels.get("le")): sample.value
            for family in live.service.metrics.registry.collect()
            for sample in family.samples
        }
    assert 0 < sum(reviews) < FILMS
    assert reference.review_share == sum(reviews) / FILMS
    for signal in EDGES:
        told = getattr(reference, signal)
        counts = [served[f"pneumoscope_{signal}_bucket", str(edge)] for edge in told.edges]
        assert counts == [round(share * FILMS) for share in told.shares], signal


def test_nothing_but_the_manifest_changes_and_both_files_get_their_own(model: Path, films: Path) -> None:
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    write_reference(model, films=films, data=None, source="a ward")
    assert {path.name for path in model.iterdir()} == before.keys()
    for path in model.iterdir():
        assert without_manifest(path.read_bytes()) == without_manifest(before[path.name])
        old = read_manifest({"manifest": onnx.load_from_string(before[path.name]).metadata_props[0].value})
        new = manifest_of(path)
        assert new.reference is not None
        assert (new.reference.source, new.reference.films) == ("a ward", FILMS)
        assert new.model_copy(update={"reference": None}) == old


def test_a_second_reference_takes_the_place_of_the_first(model: Path, films: Path) -> None:
    for source in ("the first ward", "the second ward"):
        write_reference(model, films=films, data=None, source=source)
    content = (model / "model.onnx").read_bytes()
    assert content.count(b"second ward") == 1
    assert b"first ward" not in content


def test_the_held_out_fold_is_found_from_the_manifest(tmp_path: Path) -> None:
    write_films(tmp_path / "train")
    training = Training(command="none", folds=5, held_out_fold=1, seed=0)
    (tmp_path / "model.onnx").write_bytes(tiny_model.build(tiny_model.manifest(training=training)))
    write_reference(tmp_path, films=None, data=tmp_path, source=None)
    reference = manifest_of(tmp_path / "model.onnx").reference
    assert reference is not None
    assert reference.source == held_out_source(training)
    held_out = partition(load(find_films(tmp_path)), Recipe(folds=5, held_out_fold=1, seed=0)).held_out
    assert reference.films == len(held_out)
    assert set(held_out_paths(tmp_path, training)) == {film.path for film in held_out.films}


def test_a_model_that_holds_no_fold_out_needs_films(model: Path, tmp_path: Path) -> None:
    with pytest.raises(NoReference, match="--films"):
        write_reference(model, films=None, data=tmp_path, source=None)


def test_a_film_without_an_answer_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(tiny_model.build(nan="for dark films"))
    classifier = Classifier.open_file(tmp_path / "model.onnx")
    black = radiographs.png(np.zeros((40, 40), np.uint8))
    films = [read(film, size=tiny_model.SIZE) for film in (black, radiographs.png(radiographs.draw(96, 80)))]
    answers = classifier.classify(films)
    assert [isinstance(answer, Finding) for answer in answers] == [False, True]
    assert measure(classifier, films, "two films").films == 1


def test_without_a_film_there_is_no_reference(model: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    before = (model / "model.onnx").read_bytes()
    with pytest.raises(NoReference, match="no film"):
        write_reference(model, films=empty, data=None, source=None)
    assert (model / "model.onnx").read_bytes() == before


def test_if_one_file_would_be_refused_none_is_replaced(model: Path) -> None:
    before = {path: path.read_bytes() for path in model.iterdir()}
    whole = tiny_model.build(tiny_model.manifest(version="2"))
    with pytest.raises(ModelFileError):
        replace_files({model / "model.onnx": whole, model / "model.int8.onnx": b"no model"})
    assert {path: path.read_bytes() for path in model.iterdir()} == before


def test_a_new_file_is_readable_by_whom_the_old_one_was(model: Path, films: Path) -> None:
    (model / "model.onnx").chmod(0o644)
    write_reference(model, films=films, data=None, source=None)
    assert (model / "model.onnx").stat().st_mode & 0o777 == 0o644


def test_what_cannot_be_read_is_told_by_its_fault_alone(films: Path) -> None:
    said: list[str] = []
    paths = [films / "cut short.jpg", films / "not there.jpg"]
    assert list(decoded(paths, tiny_model.SIZE, said.append)) == []
    assert len(said) == 2
    assert not any("short.jpg" in line or "there.jpg" in line for line in said)


def test_a_file_without_a_reference_stays_as_it_is_but_for_it(model: Path, films: Path) -> None:
    classifier = Classifier.open_file(model / "model.onnx")
    reference = measure(classifier, decoded(films.rglob("*.png"), tiny_model.SIZE), "a ward")
    once = with_reference((model / "model.onnx").read_bytes(), reference)
    assert with_reference(once, reference) == once


def test_the_command_tells_the_new_digests(model: Path, films: Path) -> None:
    command = [sys.executable, "-m", "model_export.reference", str(model), "--films", str(films)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    for name in ("model.onnx", "model.int8.onnx"):
        assert Classifier.open_file(model / name).sha256 in told.stdout
    assert "1 of 13 files cannot be read" in told.stdout


def test_a_hospital_needs_neither_keras_nor_anything_else_of_training(model: Path, films: Path) -> None:
    absent = {"keras", "tensorflow", "tf2onnx", "sklearn", "matplotlib"}
    script = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({absent!r})); "
        f"sys.argv = ['reference', {str(model)!r}, '--films', {str(films)!r}]; "
        "runpy.run_module('model_export.reference', run_name='__main__')"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert manifest_of(model / "model.onnx").reference is not None


def test_the_command_says_in_one_sentence_what_is_wrong(model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "model_export.reference", str(model), "--films", str(tmp_path / "no")]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "There is no folder" in told.stderr
    assert "Traceback" not in told.stderr
