"""Self-supervised pretraining: learn which views are of one film, without any label.

SimCLR (Chen et al., 2020): two augmented views of each film must find each other among all of the batch.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from rich.console import Console

from training.architectures import build
from training.augmentation import STRENGTHS, Augmentation
from training.dataset import Dataset
from training.fit import partition
from training.recipe import Recipe

TEMPERATURE = 0.2
PROJECTION = 64


def pretrain(films: Dataset, recipe: Recipe, run: Path, epochs: int, console: Console) -> Path:
    """Pretrain the recipe's network on the films that it may learn from, at its first stage's size.

    Returns:
        `run/model.keras`, for `--weights`; an existing one is kept. Its head is untrained.
    """
    path = run / "model.keras"
    if path.is_file():
        return path
    run.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(recipe.seed)
    keras.mixed_precision.set_global_policy(recipe.precision)
    try:
        network = build(recipe.architecture, dropout=recipe.dropout)
        stage = recipe.stages[0]
        pixels = partition(films, recipe).learn.resized(stage.size)
        batch_size = 2 * stage.batch_size
        steps = epochs * (len(pixels) // batch_size)
        trainer = _trainer(network, recipe, stage.size, steps)
        for epoch in range(epochs):
            order = np.random.default_rng((recipe.seed, epoch)).permutation(len(pixels))
            losses = []
            for start in range(0, len(order) - batch_size + 1, batch_size):
                batch = pixels[order[start : start + batch_size]][..., None].astype(np.float32)
                losses.append(float(trainer.train_on_batch(batch, np.zeros((len(batch), 1), np.float32))))
            console.print(f"pretraining, epoch {epoch + 1} of {epochs}: loss {np.mean(losses):.3f}")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    final = build(recipe.architecture, input_size=recipe.input_size, dropout=recipe.dropout)
    final.set_weights(network.get_weights())
    final.save(path)
    recipe.save(run)
    return path


def _trainer(network: keras.Model, recipe: Recipe, size: int, steps: int) -> keras.Model:
    inputs = keras.Input((size, size, 1), dtype="float32")
    strength = STRENGTHS[recipe.augmentation]
    views = [Augmentation(strength, seed=recipe.seed + number)(inputs) for number in range(2)]
    pooled = keras.Model(network.input, network.get_layer("pool").output)
    hidden = layers.Dense(4 * PROJECTION, activation="relu", dtype="float32")(pooled(ops.concatenate(views)))
    projected = layers.Dense(PROJECTION, dtype="float32")(hidden)
    pairs = ops.transpose(ops.reshape(projected, (2, -1, PROJECTION)), (1, 0, 2))
    trainer = keras.Model(inputs, pairs)
    rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, max(steps, 1))
    trainer.compile(keras.optimizers.AdamW(rate, recipe.weight_decay, clipnorm=recipe.clip_norm), contrast)
    return trainer


def contrast(_: Any, pairs: Any) -> Any:
    """NT-Xent loss a film, [films], of its two projected views, [films, 2, dimensions]."""
    unit = pairs / ops.maximum(ops.norm(pairs, axis=-1, keepdims=True), 1e-6)
    one, other = unit[:, 0], unit[:, 1]
    return _find(one, other) + _find(other, one)


def _find(these: Any, others: Any) -> Any:
    """Cross-entropy of finding each film's other view among all others and all but itself of these."""
    across = ops.matmul(these, ops.transpose(others)) / TEMPERATURE
    within = ops.matmul(these, ops.transpose(these)) / TEMPERATURE
    itself = ops.eye(ops.shape(these)[0]) * 1e9
    everything = ops.concatenate([across, within - itself], axis=1)
    return ops.logsumexp(everything, axis=1) - ops.sum(these * others, axis=1) / TEMPERATURE
