import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from rich.console import Console

from training import fit as fitting
from training.dataset import Dataset
from training.fit import RunError, SoftLabels, fit, partition, plan, predict_logits
from training.losses import head_loss
from training.recipe import Recipe, Stage
from training.slices import mark

Steps = Callable[[int | None], list[np.ndarray[Any, Any]]]


@pytest.fixture
def console() -> Console:
    return Console(quiet=True)


def test_nobody_is_in_two_parts(films: Dataset, recipe: Recipe) -> None:
    parts = partition(films, recipe)
    patients = [set(part.patients) for part in (parts.learn, parts.monitor, parts.held_out)]
    assert sum(map(len, patients)) == len(set.union(*patients))
    assert len(parts.learn) + len(parts.monitor) + len(parts.held_out) == len(films)
    assert all(set(part.labels) == {0, 1} for part in (parts.learn, parts.monitor, parts.held_out))


def test_the_same_seed_holds_the_same_films_out(films: Dataset, recipe: Recipe) -> None:
    first, second = partition(films, recipe), partition(films, recipe)
    assert first.held_out.films == second.held_out.films
    assert first.monitor.films == second.monitor.films


def test_a_run_learns_then_fine_tunes_and_writes_its_folder(
    films: Dataset, recipe: Recipe, console: Console, tmp_path: Path
) -> None:
    network = fit(films, recipe, tmp_path / "run", console)
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [(entry["phase"], entry["size"]) for entry in history][:4] == [
        ("learn", 32),
        ("learn", 32),
        ("learn", 48),
        ("fine-tune", 48),
    ]
    assert all(np.isfinite([entry["loss"], entry["monitor_loss"]]).all() for entry in history)
    assert Recipe.of_run(tmp_path / "run") == recipe
    assert not (tmp_path / "run" / "checkpoint.npz").exists()
    saved = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
    assert saved.input_shape == (None, 48, 48, 1)
    pixels = films.resized(48)[:3]
    assert np.allclose(predict_logits(saved, pixels), predict_logits(network, pixels), atol=1e-5)


def test_fine_tuning_moves_the_top_layers_alone(
    films: Dataset, recipe: Recipe, console: Console, tmp_path: Path
) -> None:
    learnt = fit(films, recipe.model_copy(update={"fine_tune_epochs": 0}), tmp_path / "a", console)
    tuned = fit(films, recipe, tmp_path / "b", console)

    def same(layer: str) -> bool:
        pairs = zip(learnt.get_layer(layer).weights, tuned.get_layer(layer).weights, strict=True)
        return all(
            np.allclose(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b), atol=1e-6)
            for a, b in pairs
        )

    assert same("first")
    assert same("norm")
    assert not same("second")
    assert not same("logits")


@pytest.mark.parametrize("kill_at", [3, 9, 14])
def test_a_killed_run_goes_on_at_its_checkpoint(
    films: Dataset,
    recipe: Recipe,
    console: Console,
    tmp_path: Path,
    count_steps: Steps,
    monkeypatch: pytest.MonkeyPatch,
    kill_at: int,
) -> None:
    steps = count_steps(None)
    fit(films, recipe, tmp_path / "whole", console)
    assert len(steps) > kill_at
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", 0)
    before = count_steps(kill_at)
    with pytest.raises(KeyboardInterrupt):
        fit(films, recipe, tmp_path / "killed", console)
    after = count_steps(None)
    fit(films, recipe, tmp_path / "killed", console)
    assert len(before) + len(after) == len(steps)
    assert all(np.array_equal(a, b) for a, b in zip([*before, *after], steps, strict=True))
    whole, killed = (
        json.loads((tmp_path / name / "history.json").read_text()) for name in ("whole", "killed")
    )
    for left, right in zip(whole, killed, strict=True):
        assert (left["epoch"], left["phase"]) == (right["epoch"], right["phase"])
        assert left["learning_rate"] == pytest.approx(right["learning_rate"])


def test_a_checkpoint_is_due_within_ten_minutes() -> None:
    assert fitting.CHECKPOINT_SECONDS <= 600


def test_a_finished_run_is_not_trained_again(
    films: Dataset, recipe: Recipe, console: Console, tmp_path: Path, count_steps: Steps
) -> None:
    fit(films, recipe, tmp_path, console)
    steps = count_steps(None)
    fit(films, recipe, tmp_path, console)
    assert steps == []


def test_a_folder_of_another_recipe_is_refused(
    films: Dataset, recipe: Recipe, console: Console, tmp_path: Path
) -> None:
    recipe.save(tmp_path)
    with pytest.raises(RunError, match="another recipe"):
        fit(films, recipe.model_copy(update={"seed": 9}), tmp_path, console)


def test_weights_that_have_seen_the_held_out_fold_are_refused(
    films: Dataset, recipe: Recipe, console: Console, tmp_path: Path
) -> None:
    fit(films, recipe, tmp_path / "first", console)
    onwards = recipe.model_copy(update={"weights": str(tmp_path / "first" / "model.keras")})
    with pytest.raises(RunError, match="fold 0 of 3 held out"):
        fit(films, onwards.model_copy(update={"held_out_fold": 1}), tmp_path / "leak", console)
    fit(films, onwards, tmp_path / "second", console)
    assert (tmp_path / "second" / "model.keras").is_file()


def test_soft_labels_are_part_of_the_target(
    films: Dataset, recipe: Recipe, console: Console, tmp_path: Path, count_steps: Steps
) -> None:
    soft = {film.digest: 0.25 for film in films.films}
    path = tmp_path / "soft_labels.json"
    path.write_text(SoftLabels(folds=3, held_out_fold=0, seed=0, probabilities=soft).model_dump_json())
    taught = recipe.model_copy(update={"soft_labels": str(path), "soft_share": 0.4})
    steps = count_steps(None)
    fit(films, taught, tmp_path / "run", console)
    assert np.unique(np.concatenate(steps)[:, 0]) == pytest.approx([0.1, 0.7])
    with pytest.raises(RunError, match="fold 0 of 3 held out"):
        fit(films, taught.model_copy(update={"held_out_fold": 1}), tmp_path / "leak", console)


def test_a_film_without_a_soft_label_is_named(
    films: Dataset, recipe: Recipe, console: Console, tmp_path: Path
) -> None:
    path = tmp_path / "soft_labels.json"
    path.write_text(SoftLabels(folds=3, held_out_fold=0, seed=0, probabilities={}).model_dump_json())
    with pytest.raises(RunError, match=r"no soft label, .*\.jpeg"):
        fit(films, recipe.model_copy(update={"soft_labels": str(path)}), tmp_path / "run", console)
    path.write_text("{")
    with pytest.raises(RunError, match="holds no soft labels"):
        fit(films, recipe.model_copy(update={"soft_labels": str(path)}), tmp_path / "run", console)


def test_mixed_films_have_targets_in_between(
    films: Dataset, recipe: Recipe, console: Console, tmp_path: Path, count_steps: Steps
) -> None:
    steps = count_steps(None)
    fit(films, recipe.model_copy(update={"mixup": 1.0}), tmp_path, console)
    asked = np.concatenate(steps)[:, 0]
    assert ((asked > 0.05) & (asked < 0.95)).mean() > 0.2


def test_another_trial_starts_elsewhere_on_the_same_folds(
    films: Dataset, recipe: Recipe, console: Console, tmp_path: Path
) -> None:
    short = recipe.model_copy(update={"fine_tune_epochs": 0})
    one = fit(films, short, tmp_path / "one", console)
    other = fit(films, short.model_copy(update={"trial": 1}), tmp_path / "other", console)
    assert not np.allclose(one.get_weights()[0], other.get_weights()[0])
    again = partition(films, short.model_copy(update={"trial": 1}))
    assert partition(films, short).held_out.films == again.held_out.films


def test_views_are_held_together_at_the_size_that_the_network_is_for_alone(
    films: Dataset, recipe: Recipe, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[float] = []
    original = head_loss

    def watched(**options: Any) -> Any:
        if "consistency" in options:
            weights.append(options["consistency"])
        return original(**options)

    monkeypatch.setattr(fitting, "head_loss", watched)
    held = recipe.model_copy(update={"consistency": 3.0, "fine_tune_epochs": 1})
    fit(films, held, tmp_path, console)
    # A smaller stage, the last one, and the fine-tuning; what the loss makes of it: tests/training/test_losses.py.
    assert weights == [0.0, 3.0, 3.0]


def test_the_rate_follows_the_work_not_the_steps() -> None:
    recipe = Recipe(stages=(Stage(size=64, epochs=8), Stage(size=128, epochs=2)), warm_up=0.0)
    schedule = plan(recipe, films_an_epoch=320)
    half = fitting._learning_rate(recipe, schedule, schedule[8].first_step)
    assert half == pytest.approx(
        recipe.learning_rate / 2
    )  # two epochs of four times the pixels are half the work


def test_no_gain_lowers_the_rate_and_stops_early(
    films: Dataset, recipe: Recipe, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = fitting._judge
    losses = iter([1.0] * 3 + [0.5] + [0.9] * 20)

    def judged(*arguments: Any) -> dict[str, Any]:
        return original(*arguments) | {"monitor_loss": next(losses)}

    monkeypatch.setattr(fitting, "_judge", judged)
    stopping = recipe.model_copy(update={"fine_tune_epochs": 10, "patience": 3})
    fit(films, stopping, tmp_path, console)
    tuning = [
        entry
        for entry in json.loads((tmp_path / "history.json").read_text())
        if entry["phase"] == "fine-tune"
    ]
    assert len(tuning) == 4
    assert tuning[-1]["learning_rate"] < tuning[0]["learning_rate"]


def fixed_losses(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Makes the monitored films' loss of each epoch what is given."""
    original = fitting._judge

    def judged(*arguments: Any) -> dict[str, Any]:
        entry = original(*arguments)
        return entry | {"monitor_loss": losses[entry["epoch"] - 1]}

    monkeypatch.setattr(fitting, "_judge", judged)


def history_of(run: Path) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = json.loads((run / "history.json").read_text())
    return history


def test_on_a_plateau_the_learning_phase_is_watched_and_the_fine_tuning_begins_at_its_best(
    films: Dataset, recipe: Recipe, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = (Stage(size=48, epochs=8, batch_size=8),)
    plateau = recipe.model_copy(
        update={"schedule": "plateau", "stages": stages, "fine_tune_epochs": 2, "patience": 3}
    )
    fixed_losses(monkeypatch, [1.0, 0.5, 0.9, 0.9, 0.9, *[0.9] * 3, 0.4, 0.3])
    fit(films, plateau, tmp_path, console)
    history = history_of(tmp_path)
    assert [(entry["epoch"], entry["phase"]) for entry in history] == [
        *((number, "learn") for number in range(1, 6)),
        (9, "fine-tune"),
        (10, "fine-tune"),
    ]
    rates = [entry["learning_rate"] for entry in history]
    assert rates[0] == rates[1] == pytest.approx(plateau.learning_rate)
    assert rates[4] < rates[1]
    best, after = (keras.saving.load_model(tmp_path / "model.keras", compile=False) for _ in range(2))
    best.load_weights(tmp_path / "best.learn.weights.h5")
    for layer in ("first", "norm"):  # frozen in the fine-tuning, so they are still those of its start
        for left, right in zip(best.get_layer(layer).weights, after.get_layer(layer).weights, strict=True):
            assert np.allclose(keras.ops.convert_to_numpy(left), keras.ops.convert_to_numpy(right), atol=1e-5)


@pytest.mark.parametrize(
    ("callbacks", "epochs", "lowered"),
    [
        ((), 6, False),
        (("early_stopping",), 3, False),
        (("reduce_lr_on_plateau",), 6, True),
        (("early_stopping", "reduce_lr_on_plateau", "model_checkpoint"), 3, True),
    ],
)
def test_callbacks_are_those_that_are_named(
    films: Dataset,
    recipe: Recipe,
    console: Console,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    callbacks: tuple[str, ...],
    epochs: int,
    lowered: bool,
) -> None:
    chosen = Recipe.model_validate(
        recipe.model_dump() | {"callbacks": callbacks, "fine_tune_epochs": 6, "patience": 2}
    )
    fixed_losses(monkeypatch, [1.0] * 3 + [0.5] + [0.9] * 5)
    fit(films, chosen, tmp_path, console)
    tuning = [entry for entry in history_of(tmp_path) if entry["phase"] == "fine-tune"]
    assert len(tuning) == epochs
    assert (tuning[-1]["learning_rate"] < tuning[0]["learning_rate"]) is lowered
    assert (tmp_path / "best.fine-tune.weights.h5").exists() is ("model_checkpoint" in callbacks)


def test_a_resumed_fine_tuning_does_not_lower_its_rate_again(
    films: Dataset,
    recipe: Recipe,
    console: Console,
    tmp_path: Path,
    count_steps: Steps,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = [1.0] * 3 + [0.5, 0.9, 0.9, 0.4, 0.3]
    long = recipe.model_copy(update={"fine_tune_epochs": 5, "patience": 4})
    fixed_losses(monkeypatch, losses)
    steps = count_steps(None)
    fit(films, long, tmp_path / "whole", console)
    count_steps(len(steps) - 2)
    with pytest.raises(KeyboardInterrupt):
        fit(films, long, tmp_path / "killed", console)
    count_steps(None)
    fit(films, long, tmp_path / "killed", console)
    whole, killed = (
        [entry["learning_rate"] for entry in history_of(tmp_path / name)] for name in ("whole", "killed")
    )
    assert killed == pytest.approx(whole)
    assert whole[-1] < whole[3]


def test_a_network_that_flattens_learns_at_one_size(
    films: Dataset, recipe: Recipe, console: Console, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="one size only"):
        fit(films, recipe.model_copy(update={"architecture": "cnn"}), tmp_path, console)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="no architecture 'resnet51'"):
        fit(films, recipe.model_copy(update={"architecture": "resnet51"}), tmp_path, console)


@pytest.mark.parametrize(("loss", "gamma"), [("binary_crossentropy", 0.0), ("focal", 1.5)])
def test_the_loss_that_is_named_is_learnt_by_and_watched(
    films: Dataset,
    recipe: Recipe,
    console: Console,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loss: str,
    gamma: float,
) -> None:
    gammas: list[float] = []
    original = head_loss

    def watched(**options: Any) -> Any:
        gammas.append(options["focal_gamma"])
        return original(**options)

    monkeypatch.setattr(fitting, "head_loss", watched)
    short = recipe.model_copy(update={"loss": loss, "focal_gamma": 1.5, "fine_tune_epochs": 1})
    fit(films, short, tmp_path, console)
    assert len(gammas) == 3 + 4  # a trainer for each stage and the fine-tuning; four epochs judged
    assert set(gammas) == {gamma}
    assert all(np.isfinite(entry["loss"]) for entry in history_of(tmp_path))


@pytest.mark.parametrize("balance", ["none", "weights", "oversample", "style"])
def test_balancing_shows_both_classes_as_asked(
    films: Dataset, recipe: Recipe, console: Console, tmp_path: Path, count_steps: Steps, balance: str
) -> None:
    few_normal = mark(films.subset(np.flatnonzero((films.labels == 1) | (np.arange(len(films)) % 2 == 0))))
    steps = count_steps(None)
    short = recipe.model_copy(
        update={
            "balance": balance,
            "stages": (Stage(size=32, epochs=1, batch_size=4),),
            "fine_tune_epochs": 0,
        }
    )
    fit(few_normal, short, tmp_path, console)
    share = np.concatenate(steps)[:, 0].mean()
    learnt = partition(few_normal, short).learn.labels.mean()
    assert share == pytest.approx(0.5 if balance == "oversample" else learnt, abs=0.08)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_both_optimisers_train(
    films: Dataset, recipe: Recipe, console: Console, tmp_path: Path, optimizer: str
) -> None:
    fit(films, recipe.model_copy(update={"optimizer": optimizer}), tmp_path, console)
    history = json.loads((tmp_path / "history.json").read_text())
    assert all(np.isfinite(entry["loss"]) for entry in history)


def test_the_plan_goes_through_the_stages_and_ends_with_fine_tuning() -> None:
    recipe = Recipe(
        stages=(Stage(size=64, epochs=2, batch_size=10), Stage(size=96, epochs=1, batch_size=20)),
        fine_tune_epochs=2,
    )
    schedule = plan(recipe, films_an_epoch=100)
    assert [(e.phase, e.size, e.views, e.steps, e.first_step) for e in schedule] == [
        ("learn", 64, 1, 10, 0),
        ("learn", 64, 1, 10, 10),
        ("learn", 96, 1, 5, 20),
        ("fine-tune", 224, 2, 5, 25),
        ("fine-tune", 224, 2, 5, 30),
    ]
    alone = plan(recipe.model_copy(update={"consistency": 0.0}), films_an_epoch=100)
    assert {epoch.views for epoch in alone} == {1}


@pytest.mark.parametrize("text", ["64", "64x", "64x2x3x4", "axb"])
def test_a_stage_that_cannot_be_read_says_what_it_should_be(text: str) -> None:
    with pytest.raises(ValueError, match="SIZExEPOCHS"):
        Stage.parse(text)


def test_a_stage_is_read_from_words() -> None:
    assert Stage.parse("224x2x16") == Stage(size=224, epochs=2, batch_size=16)
    assert Stage.parse("64x14") == Stage(size=64, epochs=14)
