"""A comparison of networks on synthetic films: trained, resumed, told as pages."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy.stats import spearmanr

from app.engine.classifier import Classifier
from app.engine.manifest import Estimate
from tests.shipping.repository import ROOT
from training import compare as comparing
from training.__main__ import main
from training.architectures import ARCHITECTURES, Architecture, WeightsError, build
from training.compare import RECIPE, compare, gflops, serve_all
from training.comparison import Comparison
from training.comparison_figures import PICTURES
from training.comparison_page import as_html, as_markdown, publish, write
from training.dataset import Dataset
from training.evaluate import classifier_scores
from training.fit import Diverged, RunError, fit, partition
from training.recipe import Recipe, Stage
from training.slices import mark

QUIET = Console(quiet=True)
NAMES = ("flat", "spatial", "stubborn")
Steps = Callable[[int | None], list[np.ndarray[Any, Any]]]


def _flat(_weights: str | None, x: Any) -> Any:
    x = keras.layers.Conv2D(4, 3, strides=4, activation="relu", padding="same")(x)
    return keras.layers.Flatten()(x)


def _spatial(_weights: str | None, x: Any) -> Any:
    return keras.layers.Conv2D(6, 5, strides=4, activation="relu", padding="same")(x)


def _stubborn(_weights: str | None, x: Any) -> Any:
    """Says the same of every film."""
    return keras.layers.Rescaling(0.0, offset=1.0)(_spatial(None, x))


def _scaled(films: Any) -> Any:
    return keras.layers.Rescaling(1 / 255)(films)


@pytest.fixture(scope="module")
def registry() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, trunk in zip(NAMES, (_flat, _spatial, _stubborn), strict=True):
            network = Architecture(
                name, _scaled, trunk, name, flattens=name == "flat", published=name == "spatial"
            )
            patch.setitem(ARCHITECTURES, name, network)
        yield


RECIPE_HERE = RECIPE.model_copy(
    update={
        "folds": 3,
        "monitor_share": 0.2,
        "input_size": 32,
        "stages": (Stage(size=32, epochs=2, batch_size=8),),
        "learning_rate": 1e-2,
    }
)


@pytest.fixture(scope="module")
def marked(films: Dataset) -> Dataset:
    return mark(films)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("comparison")


@pytest.fixture(scope="module")
def found(registry: None, marked: Dataset, folder: Path) -> Comparison:
    found = compare(marked, NAMES, RECIPE_HERE, folder, QUIET, command="python -m training compare")
    write(found, folder)
    return found


def test_every_network_is_judged_on_the_same_films(found: Comparison, marked: Dataset) -> None:
    assert [each.architecture for each in found.networks] == list(NAMES)
    assert set(found.labels) == {0, 1}
    assert len(found.labels) == found.held_out_films == len(partition(marked, RECIPE_HERE).held_out)
    for network, judgement in found.judged:
        assert judgement.evaluation.films == found.held_out_films
        assert len(judgement.scores) == found.held_out_films
        assert "sensitivity_bacterial" in judgement.evaluation.slices
        assert [each.epoch for each in network.history] == [1, 2]
        assert network.processor_seconds > 0
    assert found.films == len(marked)


def test_one_that_does_not_learn_is_a_result(found: Comparison) -> None:
    outcomes = {network.architecture: network.outcome for network in found.networks}
    assert outcomes["stubborn"] == "did not learn"
    assert outcomes["spatial"] == "learnt"
    assert "`stubborn` did not learn by this recipe" in as_markdown(found, Path("pictures"))


def test_each_is_set_against_the_best_in_the_same_resamples(found: Comparison) -> None:
    areas = {network.architecture: judgement.evaluation.auc.value for network, judgement in found.judged}
    best = max(areas, key=lambda name: areas[name])
    assert found.differences.keys() == set(NAMES) - {best}
    for name, difference in found.differences.items():
        assert difference.value == pytest.approx(areas[name] - areas[best], abs=1e-6)
        assert difference.low <= difference.value <= difference.high


def test_every_network_is_exported_and_timed_by_the_services_engine(
    found: Comparison, marked: Dataset, folder: Path
) -> None:
    assert found.not_exported == {}
    held_out = partition(marked, RECIPE_HERE).held_out
    for network, judgement in found.judged:
        cost = found.cost(network.architecture)
        assert cost is not None
        assert cost.milliseconds > 0
        file = folder / network.architecture / "served" / "model.onnx"
        assert cost.file_bytes == file.stat().st_size
        served = classifier_scores(Classifier.open_file(file), held_out.resized(32))
        if network.outcome == "learnt":  # calibration keeps the order of the films
            assert spearmanr(served, judgement.scores).statistic > 0.98


def test_one_that_cannot_be_exported_has_figures_and_no_cost(
    found: Comparison, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "model.keras").write_bytes(b"no network")
    served, why = serve_all(["flat"], tmp_path, QUIET)
    assert served == []
    assert "not a Keras model that can be read" in why["flat"]
    told = found.model_copy(
        update={
            "served": tuple(each for each in found.served if each.architecture != "flat"),
            "not_exported": why,
        }
    )
    write(told, tmp_path)
    text = as_markdown(told, Path())
    assert "`flat` could not be exported: " in text
    assert len([line for line in text.splitlines() if line.startswith("| `flat` |") and "| – |" in line]) == 1


def test_what_is_done_is_not_done_again(
    found: Comparison, marked: Dataset, folder: Path, count_steps: Steps
) -> None:
    steps = count_steps(None)
    again = compare(marked, NAMES, RECIPE_HERE, folder, QUIET, command="python -m training compare")
    assert steps == []
    assert again == found


def test_a_killed_comparison_goes_on(
    registry: None, marked: Dataset, tmp_path: Path, count_steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "serve_all", lambda *_: ([], {}))
    whole = len(count_steps_of(marked, tmp_path / "whole", count_steps(None)))
    count_steps(whole // 2 + 3)
    with pytest.raises(KeyboardInterrupt):
        compare(marked, NAMES[:2], RECIPE_HERE, tmp_path / "killed", QUIET, command="")
    assert (tmp_path / "killed" / "flat" / "result.json").is_file()
    assert not (tmp_path / "killed" / "spatial" / "result.json").exists()
    rest = count_steps_of(marked, tmp_path / "killed", count_steps(None))
    assert 0 < len(rest) <= whole // 2


def count_steps_of(films: Dataset, folder: Path, steps: list[np.ndarray[Any, Any]]) -> list[Any]:
    compare(films, NAMES[:2], RECIPE_HERE, folder, QUIET, command="")
    return steps


def test_another_recipe_or_other_films_in_the_same_folder_are_refused(
    found: Comparison, marked: Dataset, folder: Path
) -> None:
    changed = RECIPE_HERE.model_copy(update={"optimizer": "rmsprop"})
    with pytest.raises(RunError, match="another recipe"):
        compare(marked, ["spatial"], changed, folder, QUIET, command="")
    fewer = marked.subset(np.arange(2, len(marked)))
    with pytest.raises(RunError, match="on other films"):
        compare(fewer, ["spatial"], RECIPE_HERE, folder, QUIET, command="")


def test_one_that_diverges_is_a_result_too(
    registry: None, marked: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = keras.Model.train_on_batch

    def explode(self: Any, *arguments: Any, **options: Any) -> Any:
        return original(self, *arguments, **options) | {"loss": float("nan")}

    monkeypatch.setattr(keras.Model, "train_on_batch", explode)
    with pytest.raises(Diverged, match="--learning-rate"):
        fit(marked, RECIPE_HERE.model_copy(update={"architecture": "spatial"}), tmp_path / "alone", QUIET)
    found = compare(marked, ["spatial"], RECIPE_HERE, tmp_path, QUIET, command="")
    assert found.networks[0].outcome == "diverged"
    write(found, tmp_path)
    text = as_markdown(found, Path())
    assert "`spatial` diverged" in text
    assert "| `spatial` | diverged |" in text
    assert [path.name for path in tmp_path.glob("*.png")] == ["learning_curves.png"]


def test_what_cannot_be_had_is_left_out_and_said(registry: None, marked: Dataset, tmp_path: Path) -> None:
    recipe = RECIPE_HERE.model_copy(update={"weights": "imagenet"})
    found = compare(marked, ["flat", "spatial"], recipe, tmp_path, QUIET, command="")
    assert [each.architecture for each in found.networks] == ["spatial"]
    assert "`flat` is left out: flat has no ImageNet weights" in as_markdown(found, Path())
    assert not (tmp_path / "flat" / "config.json").exists()  # so that another start may be tried there
    with pytest.raises(WeightsError, match="No network could be trained"):
        compare(marked, ["flat"], recipe, tmp_path, QUIET, command="")


def changed_auc(found: Comparison, low: float, high: float) -> Comparison:
    """The comparison of its network `spatial` alone, with another interval of its AUC."""
    (network,) = (each for each in found.networks if each.architecture == "spatial")
    assert network.judgement is not None
    auc = Estimate(value=(low + high) / 2, low=low, high=high)
    figures = network.judgement.evaluation.model_copy(update={"auc": auc})
    judgement = network.judgement.model_copy(update={"evaluation": figures})
    changed = network.model_copy(update={"judgement": judgement})
    return found.model_copy(update={"networks": (changed,), "differences": {}})


@pytest.mark.parametrize(
    ("low", "high", "outcome", "said"),
    [
        (0.4, 0.6, "did not learn", "did not learn by this recipe"),
        (0.1, 0.3, "learnt the reverse", "its AUC's interval lies below one half"),
        (0.8, 0.9, "learnt", "`spatial`, 0.8500 (0.8000–0.9000)"),
    ],
)
def test_the_page_says_what_the_interval_says(
    found: Comparison, low: float, high: float, outcome: str, said: str
) -> None:
    told = changed_auc(found, low, high)
    assert told.networks[0].outcome == outcome
    text = as_markdown(told, Path())
    assert said in text
    assert "The others against it" not in text


def test_one_that_calls_every_film_the_same_is_told_apart(found: Comparison) -> None:
    told = changed_auc(found, 0.6, 0.7)
    judgement = told.networks[0].judgement
    assert judgement is not None
    poor = judgement.evaluation.model_copy(update={"accuracy": Estimate(value=0.5, low=0.4, high=0.6)})
    network = told.networks[0].model_copy(
        update={"judgement": judgement.model_copy(update={"evaluation": poor})}
    )
    assert "`spatial` has hardly learnt" in as_markdown(
        told.model_copy(update={"networks": (network,)}), Path()
    )


@pytest.mark.parametrize(
    ("names", "stages", "why"),
    [
        (["resnet51"], (Stage(size=32, epochs=1),), "There is no architecture resnet51"),
        (["inception_v3"], (Stage(size=64, epochs=1),), "from 75 px on"),
        (["cnn"], (Stage(size=32, epochs=1), Stage(size=48, epochs=1)), "one size only"),
    ],
)
def test_what_cannot_be_compared_is_told_before_any_training(
    marked: Dataset, tmp_path: Path, names: list[str], stages: tuple[Stage, ...], why: str
) -> None:
    recipe = RECIPE_HERE.model_copy(update={"stages": stages, "input_size": stages[-1].size})
    with pytest.raises(ValueError, match=why):
        compare(marked, names, recipe, tmp_path, QUIET, command="")
    assert not list(tmp_path.iterdir())


def test_floating_point_operations_are_the_published_ones() -> None:
    assert gflops(build("resnet50", input_size=224)) == pytest.approx(2 * 3.86, rel=0.01)
    assert gflops(build("vgg16", input_size=224)) == pytest.approx(2 * 15.35, rel=0.01)
    assert gflops(build("densenet121", input_size=224)) == pytest.approx(2 * 2.83, rel=0.02)


class Page(HTMLParser):
    """Pictures and links of a page, and its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures: list[str] = []
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_the_page_shows_every_network_and_picture_and_needs_no_other_host(
    found: Comparison, folder: Path
) -> None:
    text = (folder / "index.html").read_text()
    assert text == as_html(found)
    page = Page()
    page.feed(text)
    assert page.pictures == list(PICTURES)
    assert {path.name for path in folder.glob("*.png")} == set(PICTURES)
    for name in NAMES:
        assert any(row[0] == name for row in page.rows)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script", text)
    assert "`" not in text
    assert Comparison.model_validate_json((folder / "comparison.json").read_text()) == found
    for name in PICTURES:
        with Image.open(folder / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 5


def test_the_published_page_has_the_registrys_names_first_and_no_films_score(
    found: Comparison, tmp_path: Path
) -> None:
    pictures_folder = tmp_path / "docs" / "images" / "comparison"
    pictures_folder.mkdir(parents=True)
    (pictures_folder / "thesis.txt").write_text("ten years of work")
    publish(found, tmp_path / "docs" / "comparison.md", pictures_folder)
    assert (pictures_folder / "thesis.txt").is_file()
    text = (tmp_path / "docs" / "comparison.md").read_text()
    table = text.partition("## Figures")[2].partition("## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert [row.split("|")[1].strip() for row in rows] == [f"`{name}`" for name in NAMES]
    pictures = re.findall(r"\]\((.+?\.png)\)", text)
    assert pictures == [f"images/comparison/{name}" for name in PICTURES]
    assert all((tmp_path / "docs" / picture).is_file() for picture in pictures)
    numbers = json.loads((tmp_path / "docs" / "images" / "comparison" / "comparison.json").read_text())
    assert "labels" not in numbers
    assert all("scores" not in each["judgement"] for each in numbers["networks"])
    assert [each["architecture"] for each in numbers["networks"]] == list(NAMES)


def test_make_compare_compares_networks_of_the_registry(data: Path, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "comparison.md"
    options = f"--architectures cnn,small_resnet --stages 32x1x8 --folder {tmp_path / 'runs'} --page {page}"
    told = subprocess.run(
        ["make", "compare", f"DATA={data}", f"ARGS={options}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "specificity" in told.stdout
    assert (tmp_path / "runs" / "index.html").is_file()
    text = page.read_text()
    assert "python -m training compare --data DIR --architectures cnn,small_resnet --stages 32x1x8" in text
    assert str(tmp_path) not in text
    assert str(data) not in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("compare", "--architectures", "cnn", "--stages", "16x1"),
            "--stages 16x1: size 16: Input should be greater than or equal to 32",
        ),
        (("compare", "--architectures", "cnn, cnn"), "named twice"),
        (("compare", "--architectures", "resnet51"), "There is no architecture resnet51"),
        (("compare", "--held-out-fold", "7"), "of 5 folds, from 0 on, there is no fold 7"),
        (("compare", "--folder", "/proc/nope"), "/proc/nope"),
        (("fit", "--loss", "focl"), "--loss focl: Input should be 'binary_crossentropy' or 'focal'"),
        (
            ("fit", "--callbacks", "early_stoping"),
            "--callbacks early_stoping: Input should be 'early_stopping'",
        ),
        (("fit", "--architecture", "cnn", "--run", "[/x]"), "one size only"),
    ],
)
def test_the_command_tells_what_it_cannot_do_before_any_training(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["training", *words, "--data", str(data)])
    monkeypatch.setattr(keras.Model, "train_on_batch", None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_the_default_recipe_is_a_recipe() -> None:
    assert Recipe.model_validate(RECIPE.model_dump()) == RECIPE
    for architecture in ARCHITECTURES.values():
        architecture.check_sizes({RECIPE.input_size})
