"""The ablations end to end, on a network of two convolutions and synthetic films."""

from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.training.conftest import write_films
from training import ablate
from training.__main__ import app
from training.ablate import VARIANTS, Row, Variant, found, run_variant, save_table, table
from training.dataset import Dataset
from training.fit import RunError, SoftLabels, partition
from training.pretrain import contrast, pretrain
from training.recipe import Recipe, Stage
from training.slices import mark
from training.teach import PARTS, teach

QUIET = Console(quiet=True)


@pytest.fixture
def base(small: str) -> Recipe:
    return Recipe(
        architecture=small,
        input_size=32,
        folds=2,
        monitor_share=0.2,
        stages=(Stage(size=32, epochs=1, batch_size=8),),
        fine_tune_epochs=0,
        consistency=0.0,
    )


@pytest.fixture(scope="session")
def marked(films: Dataset) -> Dataset:
    return mark(films)


def test_every_variant_is_a_recipe_and_says_what_it_does() -> None:
    for name, variant in VARIANTS.items():
        changed = ablate.BASE.model_copy(update=dict(variant.changes))
        assert Recipe.model_validate(changed.model_dump()) == changed
        assert variant.tells
        differs = bool(
            changed != ablate.BASE or variant.crop or variant.pretrained or variant.taught or variant.shifted
        )
        assert differs == (name != "base")


def test_a_variant_is_trained_judged_and_kept(
    marked: Dataset, base: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VARIANTS, "mixup", Variant("small", {"mixup": 0.2}))
    for name in ("base", "shifted-copies", "mixup"):
        row = run_variant(marked, name, base, tmp_path, QUIET)
        assert row.evaluation.films == len(partition(marked, base).held_out)
        assert "specificity_hard_normal" in row.evaluation.slices
    assert run_variant(marked, "mixup", base, tmp_path, QUIET) == row
    save_table(tmp_path, tmp_path / "table.md")
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["`base`", "`mixup`", "`shifted-copies`"]
    assert "(+" in lines[3] or "(-" in lines[3]
    assert len(found(tmp_path)) == 3
    figures = (tmp_path / "table.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in figures] == ["variant", "base", "mixup", "shifted-copies"]
    assert figures[1].split(",")[4] == f"{row_of_base(tmp_path).evaluation.auc.value:.4f}"


def test_the_command_leaves_out_what_cannot_be_had_and_judges_at_the_size_asked_for(
    tmp_path: Path,
) -> None:
    write_films(tmp_path / "data" / "train", patients=40)
    words = ["ablate", "--data", str(tmp_path / "data"), "--variants", "base,imagenet", "--held-out", "1"]
    told = CliRunner().invoke(app, [*words, "--stages", "32x1x16", "--folder", str(tmp_path / "runs")])
    assert told.exit_code == 0, told.output
    assert "imagenet is left out: small_resnet has no ImageNet weights" in " ".join(told.output.split())
    assert Recipe.of_run(tmp_path / "runs" / "base" / "fold-1-trial-0").input_size == 32
    (row,) = found(tmp_path / "runs")
    assert (row.variant, row.fold) == ("base", 1)


def row_of_base(folder: Path) -> Row:
    return next(row for row in found(folder) if row.variant == "base")


def test_the_table_compares_the_same_runs_alone(marked: Dataset, base: Recipe, tmp_path: Path) -> None:
    row = run_variant(marked, "base", base, tmp_path, QUIET)

    def at(variant: str, fold: int, specificity: float) -> Row:
        estimate = row.evaluation.specificity.model_copy(update={"value": specificity})
        evaluation = row.evaluation.model_copy(update={"specificity": estimate})
        return row.model_copy(update={"variant": variant, "fold": fold, "evaluation": evaluation})

    words = table([at("base", 0, 0.5), at("base", 1, 0.9), at("mixup", 0, 0.6)])
    assert "| 0.6000 (+0.1000) |" in words
    assert "| 0.7000 |" in words


def test_the_deciding_difference_comes_with_the_noise_between_starts(
    marked: Dataset, base: Recipe, tmp_path: Path
) -> None:
    row = run_variant(marked, "base", base, tmp_path, QUIET)

    def at(variant: str, trial: int, area: float) -> Row:
        estimate = row.evaluation.auc.model_copy(update={"value": area})
        slices = row.evaluation.slices | {"auc_hard_normal": estimate}
        return row.model_copy(
            update={
                "variant": variant,
                "trial": trial,
                "evaluation": row.evaluation.model_copy(update={"slices": slices}),
                "restyled": row.restyled.model_copy(update={"auc": estimate}),
                "reframed": row.reframed.model_copy(update={"auc": estimate}),
            }
        )

    starts = [at("base", trial, area) for trial, area in enumerate((0.90, 0.91, 0.92))]
    words = table([*starts, at("mixup", 0, 0.95)])
    # Standard deviation 0.01, two runs compared: 2 * 0.01 * sqrt(2).
    assert "| 0.9500 (+0.0500 ± 0.0283) |" in words
    assert "±" not in table([starts[0], at("mixup", 0, 0.95)])


def test_pretraining_never_sees_the_held_out_fold(
    marked: Dataset, base: Recipe, tmp_path: Path, count_steps: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    original = keras.Model.train_on_batch

    def step(self: keras.Model, x: np.ndarray, y: np.ndarray) -> object:
        seen.append(x)
        return original(self, x, y)

    monkeypatch.setattr(keras.Model, "train_on_batch", step)
    path = pretrain(marked, base, tmp_path, 1, QUIET)
    shown = {film.tobytes() for film in np.concatenate(seen)[..., 0].astype(np.uint8)}
    parts = partition(marked, base)
    assert shown <= {film.tobytes() for film in parts.learn.resized(32)}
    assert shown
    monkeypatch.setattr(keras.Model, "train_on_batch", original)
    onwards = base.model_copy(update={"weights": str(path), "held_out_fold": 1})
    with pytest.raises(RunError, match="fold 0 of 2 held out"):
        run_variant(marked, "base", onwards, tmp_path / "leak", QUIET)


def test_views_that_find_each_other_cost_less() -> None:
    random = np.random.default_rng(0)
    one = random.normal(size=(8, 16)).astype(np.float32)
    alike = np.stack([one, one + 0.01], axis=1)
    mixed = np.stack([one, one[::-1]], axis=1)
    costs = [
        float(keras.ops.mean(contrast(None, keras.ops.convert_to_tensor(pairs)))) for pairs in (alike, mixed)
    ]
    assert costs[0] < costs[1] - 1


def test_each_film_is_judged_by_teachers_that_never_saw_it(
    marked: Dataset, base: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[set[str]] = []
    original = teach.__globals__["fit"]

    def fitted(films: Dataset, recipe: Recipe, run: Path, console: Console) -> keras.Model:
        parts = partition(films, recipe)
        learnt.append({film.digest for part in (parts.learn, parts.monitor) for film in part.films})
        return original(films, recipe, run, console)

    monkeypatch.setitem(teach.__globals__, "fit", fitted)
    path = teach(marked, base, tmp_path, 1, QUIET)
    soft = SoftLabels.load(path, base)
    held_out = {film.digest for film in partition(marked, base).held_out.films}
    assert soft.probabilities.keys() == {film.digest for film in marked.films} - held_out
    assert len(learnt) == PARTS
    assert not any(seen & held_out for seen in learnt)
    for digest in soft.probabilities:
        assert sum(digest in seen for seen in learnt) == PARTS - 1
