import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console

from tests import tiny_model
from training.__main__ import app
from training.calibrate import FeatureSpace
from training.dataset import Dataset, list_digest
from training.evaluate import Conclusion, ModelError, conclude, judge, open_model
from training.fit import fit, partition
from training.metrics import Scored, evaluate
from training.recipe import Recipe
from training.report import draw_history, table

FIGURES = {
    "roc.png",
    "precision_recall.png",
    "confusion_matrix.png",
    "reliability.png",
    "threshold_sweep.png",
    "hardest_films.png",
}


@pytest.fixture
def run(films: Dataset, recipe: Recipe, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    network = fit(films, recipe, folder, Console(quiet=True))
    conclude(network, films, recipe, folder, command="the command", libraries={"keras": keras.__version__})
    return folder


def test_a_concluded_run_holds_all_that_the_export_needs(run: Path, films: Dataset, recipe: Recipe) -> None:
    conclusion = Conclusion.model_validate_json((run / "calibration.json").read_text())
    parts = partition(films, recipe)
    assert conclusion.evaluation.films == len(parts.held_out)
    assert conclusion.films_sha256 == list_digest([*parts.learn.films, *parts.monitor.films])
    space = FeatureSpace.load(run / "novelty.npz")
    assert (space.layer, len(space.mean)) == ("norm", 8)
    assert "layer norm" in conclusion.novelty.method
    assert {path.name for path in (run / "figures").iterdir()} == FIGURES
    assert all(path.stat().st_size > 5000 for path in (run / "figures").iterdir())


def test_the_held_out_fold_alone_made_the_figures(run: Path, films: Dataset, recipe: Recipe) -> None:
    conclusion = Conclusion.model_validate_json((run / "calibration.json").read_text())
    judged = open_model(run / "model.keras")
    assert judged.recipe == recipe
    held_out = partition(films, recipe).held_out
    scored = Scored.of(held_out, judged.score(held_out.resized(recipe.input_size)))
    assert evaluate(scored, judged.threshold).auc == conclusion.evaluation.auc
    assert judged.threshold == conclusion.threshold.value


def test_judging_writes_figures_scores_and_pictures(run: Path, films: Dataset, tmp_path: Path) -> None:
    found = judge(open_model(run / "model.keras"), films, tmp_path / "judged")
    written = {path.name for path in (tmp_path / "judged").iterdir()}
    assert written == FIGURES | {"metrics.json", "scores.csv"}
    assert json.loads((tmp_path / "judged" / "metrics.json").read_text()) == json.loads(
        found.model_dump_json()
    )
    lines = (tmp_path / "judged" / "scores.csv").read_text().splitlines()
    assert lines[0] == "path,label,probability"
    assert len(lines) == len(films) + 1


def test_an_onnx_file_is_judged_by_the_services_own_engine(films: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_model.build())
    judged = open_model(path, threshold=0.25)
    scores = judged.score(films.resized(tiny_model.SIZE))
    assert judged.threshold == 0.25
    assert scores.shape == (len(films),)
    assert np.all((scores >= 0) & (scores <= 1))


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("model.onnx", None, "There is no model file"),
        ("model.onnx", b"nonsense", "refused"),
        ("model.keras", b"nonsense", "not a readable Keras model"),
        ("model.pt", b"nonsense", "neither a .keras nor an .onnx"),
    ],
)
def test_a_file_that_cannot_be_judged_is_a_clear_error(
    tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=complaint):
        open_model(tmp_path / name)


def evaluated_films(capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path) -> tuple[str, int]:
    """What the command says was judged of `data`, and how many films there were."""
    (tmp_path / "model.onnx").write_bytes(tiny_model.build())
    options = ["--model", str(tmp_path / "model.onnx"), "--output", str(tmp_path / "judged")]
    app(["evaluate", *options, "--data", str(data), "--held-out-fold", "0"], standalone_mode=False)
    (title,) = re.findall(r"tiny 1 on (.+), threshold", capsys.readouterr().out)
    return title, len((tmp_path / "judged" / "scores.csv").read_text().splitlines()) - 1


def test_of_the_data_sets_folder_the_fold_that_was_held_out_is_judged(
    data: Path, films: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    title, judged = evaluated_films(capsys, tmp_path, data)
    assert title == "train-folds"
    assert 0 < judged < len(films) / 2


def test_of_a_folder_of_classes_or_a_csv_every_film_is_judged(
    data: Path, films: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "films.csv"
    listed.write_text("\n".join(["path,label", *(f"{film.path},{film.label}" for film in films.films)]))
    for source in (data / "train", listed):
        assert evaluated_films(capsys, tmp_path, source) == ("all films", len(films))


def test_the_terminal_table_names_every_figure(films: Dataset) -> None:
    scores = np.linspace(0, 1, len(films))
    found = evaluate(Scored.of(films, scores), 0.5)
    console = Console(width=100)
    with console.capture() as shown:
        console.print(table(found, "Films", 0.5))
    for name in ("accuracy", "sensitivity", "specificity", "precision", "f1", "auc", "average precision"):
        assert name in shown.get()
    assert f"{found.true_positives}, {found.false_negatives}" in shown.get()


def test_learning_curves_mark_the_stages(tmp_path: Path) -> None:
    history = [
        {"epoch": i + 1, "phase": "learn", "size": 64 if i < 2 else 112, "loss": 1.0, "monitor_loss": 0.9,
         "monitor_auc": 0.9}
        for i in range(4)
    ]  # fmt: skip
    assert draw_history(tmp_path / "curves.png", history).stat().st_size > 5000
