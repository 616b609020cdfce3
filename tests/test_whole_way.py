"""One film, end to end, by the commands of the README: train, evaluate, export, serve, predict."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import Settings
from tests import radiographs
from tests.app.live import running
from tests.training.conftest import write_films

ROOT = Path(__file__).parents[1]


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a module of the project as a user would."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("films")
    write_films(root / "train", patients=20)
    write_films(root / "test", patients=4)
    return root


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "resnet50"
    done = run(
        "training", "fit", "--data", data, "--run", folder, "--input-size", "64", "--stages", "32x1x16,64x1x16",
        "--fine-tune-epochs", "1", "--folds", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Held-out fold" in done.stdout
    return folder


@pytest.fixture(scope="module")
def exported(trained: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    done = run("model_export", trained / "model.keras", "--data", data, "--output", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_trained_network_is_served_as_exported(exported: Path) -> None:
    settings = Settings(model_dir=exported, precision="float16")
    film = radiographs.jpeg(radiographs.draw(seed=3, opacity=True))
    with running(settings) as live:
        answer = live.predict(film).json()
        manifest = live.client.get("/model").json()
        picture = live.client.post("/explain", files={"file": ("film", film)})
    assert 0 <= answer["probability"] <= 1
    assert answer["label"] == ("PNEUMONIA" if answer["probability"] >= answer["threshold"] else "NORMAL")
    assert answer["subtypes"]["bacterial"] + answer["subtypes"]["viral"] == pytest.approx(
        answer["probability"], abs=1e-4
    )
    assert manifest["manifest"]["architecture"] == "resnet50"
    assert "python -m training fit" in json.dumps(manifest)
    assert picture.headers["content-type"] == "image/png"


def test_the_exported_file_is_judged_like_the_network_it_came_from(
    exported: Path, trained: Path, data: Path, tmp_path: Path
) -> None:
    figures = []
    for model in (exported / "model.onnx", trained / "model.keras"):
        output = tmp_path / model.suffix[1:]
        done = run("training", "evaluate", "--model", model, "--data", data, "--output", output)
        assert done.returncode == 0, done.stderr
        figures.append(json.loads((output / "metrics.json").read_text()))
    assert figures[0]["auc"]["value"] == pytest.approx(figures[1]["auc"]["value"], abs=0.01)
    assert figures[0]["films"] == figures[1]["films"] == 40


def test_the_test_split_and_a_plain_folder_are_judged(exported: Path, data: Path, tmp_path: Path) -> None:
    for where, split in ((data, "test"), (data / "test", "train")):
        done = run(
            "training", "evaluate", "--model", exported / "model.onnx", "--data", where, "--split", split,
            "--output", tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads((tmp_path / "metrics.json").read_text())["films"] == 16


def test_the_card_tells_how_the_file_was_made(exported: Path) -> None:
    card = (exported / "MODEL_CARD.md").read_text()
    for words in ("--stages 32x1x16,64x1x16", "Fold 0 of 2", "sensitivity", "CC BY 4.0", "95 %"):
        assert words in card


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("training", "fit", "--data", "nowhere"), "There is no folder nowhere"),
        (("training", "fit", "--data", ".", "--stages", "huge"), "SIZExEPOCHS"),
        (("training", "evaluate", "--model", "no.onnx", "--data", "."), "There is no model file no.onnx"),
        (("model_export", "nothing.keras"), "nothing.keras is not a Keras model"),
    ],
)
def test_a_fault_is_one_sentence_and_no_traceback(words: tuple[str, ...], complaint: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert complaint in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
