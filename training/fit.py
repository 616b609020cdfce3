"""Train a network: learn it whole, then fine-tune its top layers for recall.

The loop is one sequence of steps, so that a killed run goes on at the step of its last checkpoint. Only
`keras` is called, never a backend, so that `KERAS_BACKEND` may name another than TensorFlow.
"""

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import keras
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from sklearn.metrics import roc_auc_score

from training import folds
from training.architectures import ARCHITECTURES, PNEUMONIA, WeightsError, build, freeze_all_but_top
from training.augmentation import STRENGTHS, Augmentation
from training.dataset import Dataset
from training.losses import balanced_class_weights, head_loss, mix, style_weights, targets_of
from training.recipe import Recipe, Stage

CHECKPOINT_SECONDS = 300
AVERAGE_EVERY = 4
FROZEN_COST = 0.4
"""Cost of a step with a frozen backbone, as a share of a full one; for the estimate of time left alone."""

log = logging.getLogger(__name__)

Phase = Literal["learn", "fine-tune"]
Weights = list[npt.NDArray[np.float32]]


class RunError(RuntimeError):
    """The run's folder holds something that this run cannot go on from."""


class Diverged(RunError):
    """The loss became no number."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A data set in three: to learn from, to watch while learning, and never seen."""

    learn: Dataset
    monitor: Dataset
    held_out: Dataset


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the films: its place in the run and its settings.

    `views` of a film are held together at the size that the network is for, where it matters; a smaller stage
    shows one.
    """

    number: int
    phase: Phase
    size: int
    batch_size: int
    views: int
    steps: int
    first_step: int
    stage_first_step: int

    @property
    def opens_stage(self) -> bool:
        """Whether it is the first of its stage."""
        return self.first_step == self.stage_first_step


@dataclass
class State:
    """What a run has reached beside the trainer's own variables. `step` counts from the start of the run."""

    step: int
    history: list[dict[str, Any]]
    average: Weights


def partition(films: Dataset, recipe: Recipe) -> Partition:
    """Hold one fold out, and part a few patients of the others off to watch. No patient straddles any two."""
    fold = folds.split(films.films, recipe.folds, recipe.seed)
    held_out = fold == recipe.held_out_fold
    rest = films.subset(~held_out)
    patients = min(len(np.unique(rest.patients[rest.labels == label])) for label in (0, 1))
    parts = max(2, min(round(1 / recipe.monitor_share), patients))
    watched = folds.split(rest.films, parts, recipe.seed + 1) == 0
    return Partition(rest.subset(~watched), rest.subset(watched), films.subset(held_out))


def fit(films: Dataset, recipe: Recipe, run: Path, console: Console) -> keras.Model:
    """Train on `films` and write into `run`; go on where a killed run of the same recipe stopped.

    Writes `config.json`, `history.json`, `checkpoint.npz` while running and `model.keras` at the end.

    Returns:
        The averaged network in float32, at the recipe's input size.

    Raises:
        RunError: `run` holds a run of another recipe, or the weights have seen the held-out fold.
        Diverged: the loss became no number.
        ValueError: there is no such network, or it takes no films of these sides.
    """
    if recipe.architecture not in ARCHITECTURES:
        raise ValueError(
            f"There is no architecture {recipe.architecture!r}; there are {', '.join(ARCHITECTURES)}."
        )
    ARCHITECTURES[recipe.architecture].check_sizes(
        {recipe.input_size, *(stage.size for stage in recipe.stages)}
    )
    _check_held_out(recipe)
    new = claim(run, recipe)
    if (run / "model.keras").is_file():
        console.print(f"{run} is complete.")
        return keras.saving.load_model(run / "model.keras", compile=False)
    keras.utils.set_random_seed(recipe.seed + 1000 * recipe.trial)
    keras.mixed_precision.set_global_policy(recipe.precision)
    try:
        network = _train(partition(films, recipe), recipe, run, console)
    except WeightsError:
        if new:  # another start may be tried in the same folder
            (run / "config.json").unlink()
        raise
    finally:
        keras.mixed_precision.set_global_policy("float32")
    final = build(recipe.architecture, input_size=recipe.input_size, dropout=recipe.dropout)
    final.set_weights(network)
    final.save(run / "model.keras")
    (run / "checkpoint.npz").unlink(missing_ok=True)
    return final


def _train(parts: Partition, recipe: Recipe, run: Path, console: Console) -> Weights:
    """The loop. Returns the weights to keep."""
    side = recipe.input_size if ARCHITECTURES[recipe.architecture].flattens else None
    network = build(recipe.architecture, input_size=side, weights=recipe.weights, dropout=recipe.dropout)
    schedule = plan(recipe, _films_an_epoch(parts.learn, recipe))
    targets = targets_of(parts.learn)
    if recipe.soft_labels != "none":
        soft = SoftLabels.load(Path(recipe.soft_labels), recipe).of(parts.learn)
        targets[:, PNEUMONIA] += recipe.soft_share * (soft - targets[:, PNEUMONIA])
    weights = (
        style_weights(parts.learn) if recipe.balance == "style" else np.ones(len(parts.learn), np.float32)
    )
    saved = _restore(run)
    state = saved.state if saved else State(0, [], network.get_weights())
    if saved:
        console.print(f"Going on at step {state.step:,}.")
    trainer: keras.Model | None = None
    stage: tuple[Phase, int] | None = None
    watch = Watch(recipe, run)

    with _progress(console) as progress:
        task = progress.add_task("", total=sum(_cost(epoch) * epoch.steps for epoch in schedule))
        for epoch in schedule:
            if epoch.first_step + epoch.steps <= state.step:
                progress.advance(task, _cost(epoch) * epoch.steps)
                continue
            if stage != (epoch.phase, epoch.size):
                if epoch.phase == "fine-tune" and epoch.first_step == state.step:
                    network.set_weights(watch.best(network, "learn") or state.average)
                optimizer = trainer.optimizer if trainer and stage and stage[0] == epoch.phase else None
                trainer = _trainer(network, parts.learn, recipe, epoch)
                if saved and saved.phase == epoch.phase:
                    _assign(trainer.variables, saved.variables)
                    _assign(trainer.optimizer.variables, saved.optimizer)
                elif optimizer:
                    _assign(trainer.optimizer.variables, optimizer.variables)
                saved = None
                stage = (epoch.phase, epoch.size)
                pixels, monitored = parts.learn.resized(epoch.size), parts.monitor.resized(epoch.size)
                if watch.over(epoch.phase):
                    watch.start(epoch.phase, trainer, network, state.history)
            assert trainer is not None  # noqa: S101 - the first epoch built it
            if epoch.first_step == state.step and epoch.opens_stage:
                state.average = network.get_weights()
            progress.update(task, description=f"{epoch.phase} {epoch.number} at {epoch.size} px")
            trainer.reset_metrics()
            began = checkpointed = time.monotonic()
            spent = time.process_time()
            logs: dict[str, float] = {}
            order = _order(parts.learn, recipe, epoch)
            for step in range(state.step - epoch.first_step, epoch.steps):
                batch = order[step * epoch.batch_size : (step + 1) * epoch.batch_size]
                if epoch.phase == "learn" and recipe.schedule == "cosine":
                    trainer.optimizer.learning_rate = _learning_rate(recipe, schedule, state.step)
                shown = pixels[batch][..., None].astype(np.float32)
                asked, weigh = targets[batch], weights[batch]
                if recipe.mixup:
                    rng = np.random.default_rng((recipe.seed, recipe.trial, state.step))
                    shown, asked, weigh = mix(shown, asked, weigh, recipe.mixup, rng)
                logs = trainer.train_on_batch(shown, asked, sample_weight=weigh, return_dict=True)
                state.step += 1
                if state.step % AVERAGE_EVERY == 0:
                    _average(state, network, recipe, state.step - epoch.stage_first_step)
                progress.advance(task, _cost(epoch))
                if time.monotonic() - checkpointed > CHECKPOINT_SECONDS:
                    _checkpoint(run, state, trainer, epoch.phase)
                    checkpointed = time.monotonic()

            if not math.isfinite(logs["loss"]):
                raise Diverged(
                    f"{run}: the loss of epoch {epoch.number} is no number; a lower --learning-rate may help."
                )
            now = network.get_weights()
            network.set_weights(state.average)
            entry = _judge(network, parts, monitored, recipe, epoch)
            entry |= {"loss": float(logs["loss"]), "learning_rate": float(trainer.optimizer.learning_rate)}
            entry |= {"seconds": time.monotonic() - began, "processor_seconds": time.process_time() - spent}
            if watch.over(epoch.phase):
                watch.epoch(epoch.number, entry)
            network.set_weights(now)
            state.history.append(entry)
            if trainer.stop_training:
                console.print(f"{epoch.phase}: no gain in {recipe.patience} epochs, stopped early.")
                state.step = max(
                    each.first_step + each.steps for each in schedule if each.phase == epoch.phase
                )
            _checkpoint(run, state, trainer, epoch.phase)
            (run / "history.json").write_text(json.dumps(state.history, indent=1) + "\n")
            console.print(_line(entry))
    return watch.best(network, schedule[-1].phase) or state.average


class Watch:
    """Keras's callbacks over the monitored films' loss, by name; over phase 1 too where its rate stays."""

    def __init__(self, recipe: Recipe, run: Path) -> None:
        self.callbacks = recipe.callbacks
        self.patience = recipe.patience
        self.phases: tuple[Phase, ...] = (
            ("learn", "fine-tune") if recipe.schedule == "plateau" else ("fine-tune",)
        )
        self.run = run

    def over(self, phase: Phase) -> bool:
        """Whether `phase` is watched."""
        return phase in self.phases

    def start(
        self, phase: Phase, trainer: keras.Model, network: keras.Model, history: list[dict[str, Any]]
    ) -> None:
        """Begin, or go on after a kill: what the phase's earlier epochs told the callbacks is told again."""
        how: dict[str, Any] = {"monitor": "monitor_loss", "mode": "min"}
        past = [entry for entry in history if entry["phase"] == phase]
        self.rules: list[Any] = []
        if "reduce_lr_on_plateau" in self.callbacks:
            patience = max(1, self.patience // 2)
            self.rules.append(keras.callbacks.ReduceLROnPlateau(factor=0.3, patience=patience, **how))
        if "early_stopping" in self.callbacks:
            self.rules.append(keras.callbacks.EarlyStopping(patience=self.patience, **how))
        rate = float(trainer.optimizer.learning_rate)
        for rule in self.rules:
            rule.set_model(trainer)
            rule.on_train_begin()
            for entry in past:
                rule.on_epoch_end(entry["epoch"], {"monitor_loss": entry["monitor_loss"]})
        trainer.optimizer.learning_rate = rate  # lowered already where it was told
        if "model_checkpoint" in self.callbacks:
            best = min((entry["monitor_loss"] for entry in past), default=None)
            keeper = keras.callbacks.ModelCheckpoint(
                str(self._best(phase)),
                save_best_only=True,
                save_weights_only=True,
                initial_value_threshold=best,
                **how,
            )
            keeper.set_model(network)
            self.rules.append(keeper)

    def epoch(self, number: int, entry: dict[str, Any]) -> None:
        """Tell the callbacks of an epoch, while the network holds the averaged weights."""
        for rule in self.rules:
            rule.on_epoch_end(number, {"monitor_loss": entry["monitor_loss"]})

    def best(self, network: keras.Model, phase: Phase) -> Weights | None:
        """Weights of the phase's best epoch, if they were kept; `network` then holds them."""
        if not self._best(phase).is_file():
            return None
        network.load_weights(self._best(phase))
        return list(network.get_weights())

    def _best(self, phase: Phase) -> Path:
        return self.run / f"best.{phase}.weights.h5"


class SoftLabels(BaseModel):
    """Probabilities of pneumonia by film (SHA-256 of its bytes), from teachers that never saw the film.

    `folds`, `held_out_fold`, `seed`: the fold that neither teachers nor pupil may learn from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folds: int
    held_out_fold: int
    seed: int
    probabilities: dict[str, float]

    @classmethod
    def load(cls, path: Path, recipe: Recipe) -> Self:
        """Read a file of `python -m training teach`.

        Raises:
            RunError: it is missing or damaged, or its teachers saw the films that `recipe` holds out.
        """
        try:
            soft = cls.model_validate_json(path.read_text())
        except (OSError, ValueError) as error:
            raise RunError(f"{path} holds no soft labels: {error}") from error
        _same_fold(path, soft, recipe)
        return soft

    def of(self, films: Dataset) -> npt.NDArray[np.float32]:
        """Those of `films`, float32 [films].

        Raises:
            RunError: a film has none.
        """
        missing = [film.path.name for film in films.films if film.digest not in self.probabilities]
        if missing:
            raise RunError(f"{len(missing)} films have no soft label, {missing[0]} among them.")
        return np.array([self.probabilities[film.digest] for film in films.films], np.float32)


def plan(recipe: Recipe, films_an_epoch: int) -> list[Epoch]:
    """Every epoch of the run in order."""
    last = Stage(
        size=recipe.input_size,
        epochs=max(recipe.fine_tune_epochs, 1),
        batch_size=recipe.stages[-1].batch_size,
    )
    phases: list[tuple[Phase, Stage]] = [("learn", stage) for stage in recipe.stages]
    if recipe.fine_tune_epochs and recipe.fine_tune_layers:
        phases.append(("fine-tune", last))
    schedule: list[Epoch] = []
    first_step = 0
    for phase, stage in phases:
        steps = max(1, films_an_epoch // stage.batch_size)
        stage_first_step = first_step
        for _ in range(stage.epochs):
            schedule.append(
                Epoch(
                    len(schedule) + 1,
                    phase,
                    stage.size,
                    stage.batch_size,
                    2 if recipe.consistency and stage.size == recipe.input_size else 1,
                    steps,
                    first_step,
                    stage_first_step,
                )
            )
            first_step += steps
    return schedule


def predict_logits(network: keras.Model, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Logits of films: float32, [films, 2], from uint8 [films, side, side]."""
    logits = [
        keras.ops.convert_to_numpy(network.predict_on_batch(batch[..., None].astype(np.float32)))
        for batch in _batches(pixels, 32)
    ]
    return np.concatenate(logits).astype(np.float32)


def _batches(pixels: npt.NDArray[np.uint8], size: int) -> Iterator[npt.NDArray[np.uint8]]:
    for start in range(0, len(pixels), size):
        yield pixels[start : start + size]


def _check_held_out(recipe: Recipe) -> None:
    """Weights of an earlier run must have been learnt without the same fold."""
    earlier = Path(recipe.weights).parent
    if recipe.weights in ("none", "imagenet") or not (earlier / "config.json").is_file():
        return
    _same_fold(Path(recipe.weights), Recipe.of_run(earlier), recipe)


def _same_fold(source: Path, theirs: "Recipe | SoftLabels", recipe: Recipe) -> None:
    if (theirs.folds, theirs.held_out_fold, theirs.seed) != (recipe.folds, recipe.held_out_fold, recipe.seed):
        raise RunError(
            f"{source} was made with fold {theirs.held_out_fold} of {theirs.folds} held out (seed "
            f"{theirs.seed}): give the same, or it has seen the films that it would be judged on."
        )


def claim(run: Path, recipe: Recipe) -> bool:
    """Make the folder that of this recipe; whether it is new.

    Raises:
        RunError: it holds a run of another recipe.
    """
    run.mkdir(parents=True, exist_ok=True)
    if (run / "config.json").is_file():
        if Recipe.of_run(run) != recipe:
            raise RunError(f"{run} holds a run of another recipe; name another folder, or remove it.")
        return False
    recipe.save(run)
    return True


def _trainer(network: keras.Model, films: Dataset, recipe: Recipe, epoch: Epoch) -> keras.Model:
    """The network behind its augmentation, compiled for a phase."""
    if epoch.phase == "fine-tune":
        freeze_all_but_top(network, recipe.fine_tune_layers)
    inputs = keras.Input((epoch.size, epoch.size, 1), name="films", dtype="float32")
    augmentation = Augmentation(
        STRENGTHS[recipe.augmentation],
        aspect=recipe.aspect,
        crop=recipe.crop,
        flip=recipe.flip,
        views=epoch.views,
        seed=recipe.seed + 1000 * recipe.trial,
    )
    logits = network(augmentation(inputs))
    if epoch.views > 1:
        logits = keras.ops.transpose(keras.ops.reshape(logits, (epoch.views, -1, 2)), (1, 0, 2))
    trainer = keras.Model(inputs, logits)
    rate = recipe.learning_rate if epoch.phase == "learn" else recipe.fine_tune_learning_rate
    optimizer: Any = (
        keras.optimizers.AdamW(rate, recipe.weight_decay, clipnorm=recipe.clip_norm)
        if recipe.optimizer == "adam"
        else keras.optimizers.RMSprop(
            rate, weight_decay=recipe.weight_decay or None, clipnorm=recipe.clip_norm
        )
    )
    if recipe.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    loss = head_loss(
        label_smoothing=recipe.label_smoothing,
        kind_weight=recipe.kind_weight,
        class_weights=_class_weights(films, recipe, epoch.phase),
        consistency=recipe.consistency if epoch.views > 1 else 0.0,
        focal_gamma=_focal_gamma(recipe),
    )
    trainer.compile(optimizer, loss, jit_compile=keras.backend.backend() == "jax")
    optimizer.build(trainer.trainable_variables)
    return trainer


def _class_weights(films: Dataset, recipe: Recipe, phase: Phase) -> tuple[float, float]:
    normal, pneumonia = (
        balanced_class_weights(films.labels) if recipe.balance in ("weights", "style") else (1.0, 1.0)
    )
    return normal, pneumonia * (recipe.recall_weight if phase == "fine-tune" else 1.0)


def _focal_gamma(recipe: Recipe) -> float:
    return recipe.focal_gamma if recipe.loss == "focal" else 0.0


def _films_an_epoch(films: Dataset, recipe: Recipe) -> int:
    if recipe.balance != "oversample":
        return len(films)
    return 2 * int(np.bincount(films.labels, minlength=2).max())


def _order(films: Dataset, recipe: Recipe, epoch: Epoch) -> npt.NDArray[np.int64]:
    """Which films, in which order: the same for the same seed and epoch, killed or not."""
    rng = np.random.default_rng((recipe.seed, recipe.trial, epoch.number))
    chosen = np.arange(len(films))
    if recipe.balance == "oversample":
        # Copies of the smaller class; each is augmented anew.
        counts = np.bincount(films.labels, minlength=2)
        smaller = np.flatnonzero(films.labels == counts.argmin())
        extra = counts.max() - counts.min()
        copies = np.tile(smaller, extra // len(smaller) + 1)[: extra - extra % len(smaller)]
        chosen = np.concatenate([chosen, copies, rng.choice(smaller, extra % len(smaller), replace=False)])
    order: npt.NDArray[np.int64] = rng.permutation(chosen)
    return order


def _learning_rate(recipe: Recipe, schedule: list[Epoch], step: int) -> float:
    """Linear warm-up, then a cosine to zero at the end of the learning phase, over its work done."""
    learn = [epoch for epoch in schedule if epoch.phase == "learn"]
    behind = sum(_cost(epoch) * min(max(step - epoch.first_step, 0), epoch.steps) for epoch in learn)
    done = behind / sum(_cost(epoch) * epoch.steps for epoch in learn)
    if done < recipe.warm_up:
        return recipe.learning_rate * max(done / recipe.warm_up, 0.01)
    return (
        recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - recipe.warm_up) / (1 - recipe.warm_up)))
    )


def _average(state: State, network: keras.Model, recipe: Recipe, steps_of_stage: int) -> None:
    """Move the running average of all weights, batch statistics included, towards the network's.

    It begins anew with each stage, as a plain mean that turns into an exponential one: statistics of another
    image size must not linger.
    """
    updates = steps_of_stage / AVERAGE_EVERY
    momentum = min(recipe.averaging**AVERAGE_EVERY, updates / (updates + 10))
    for mean, now in zip(state.average, network.get_weights(), strict=True):
        mean *= momentum
        mean += (1 - momentum) * now


def _judge(
    network: keras.Model,
    parts: Partition,
    monitored: npt.NDArray[np.uint8],
    recipe: Recipe,
    epoch: Epoch,
) -> dict[str, Any]:
    """Loss (weighted as in training, not smoothed) and AUC on the monitored films."""
    logits = predict_logits(network, monitored)
    loss = head_loss(
        label_smoothing=0.0,
        kind_weight=recipe.kind_weight,
        class_weights=_class_weights(parts.learn, recipe, epoch.phase),
        focal_gamma=_focal_gamma(recipe),
    )
    losses = keras.ops.convert_to_numpy(loss(targets_of(parts.monitor), logits))
    return {
        "epoch": epoch.number,
        "phase": epoch.phase,
        "size": epoch.size,
        "monitor_loss": float(losses.mean()),
        "monitor_auc": float(roc_auc_score(parts.monitor.labels, logits[:, PNEUMONIA])),
    }


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run's state on disk, with the variables of the trainer and of its optimizer."""

    state: State
    phase: Phase
    variables: Weights
    optimizer: Weights


def _checkpoint(run: Path, state: State, trainer: keras.Model, phase: Phase) -> None:
    """Write all that a resumed run needs, in one move, so that a kill leaves the last one whole."""
    about = json.dumps({"phase": phase, "step": state.step, "history": state.history})
    arrays = {f"average_{i}": weight for i, weight in enumerate(state.average)}
    for name, variables in (("variable", trainer.variables), ("optimizer", trainer.optimizer.variables)):
        arrays |= {f"{name}_{i}": keras.ops.convert_to_numpy(value) for i, value in enumerate(variables)}
    partial = run / "checkpoint.partial.npz"
    np.savez(partial, allow_pickle=False, about=np.array(about), **arrays)
    partial.replace(run / "checkpoint.npz")


def _restore(run: Path) -> Checkpoint | None:
    path = run / "checkpoint.npz"
    if not path.is_file():
        return None
    with np.load(path) as saved:
        about = json.loads(str(saved["about"]))
        average, variables, optimizer = (
            [saved[f"{name}_{i}"] for i in range(sum(key.startswith(f"{name}_") for key in saved.files))]
            for name in ("average", "variable", "optimizer")
        )
    return Checkpoint(State(about["step"], about["history"], average), about["phase"], variables, optimizer)


def _assign(variables: Any, values: Any) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _cost(epoch: Epoch) -> float:
    return (
        epoch.views * epoch.batch_size * epoch.size**2 * (FROZEN_COST if epoch.phase == "fine-tune" else 1.0)
    )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
    )


def _line(entry: dict[str, Any]) -> str:
    return (
        f"epoch {entry['epoch']:>3}  {entry['phase']:<9} {entry['size']} px  loss {entry['loss']:.4f}  "
        f"monitor loss {entry['monitor_loss']:.4f}  monitor AUC {entry['monitor_auc']:.4f}  "
        f"{entry['seconds']:.0f} s"
    )
