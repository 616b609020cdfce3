"""Small trained-shaped networks: one of ours, and binary networks as users save them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from keras import layers

from model_export.deployable import Anatomy, take_apart
from training.architectures import build

SIDE = 64


def awake(network: Any, seed: int = 0) -> Any:
    """Batch statistics and weights as after training: no zeros and ones that would hide a fault."""
    random = np.random.default_rng(seed)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            channels = layer.gamma.shape[0]
            ranges = ((0.5, 1), (-0.2, 0.2), (-0.2, 0.2), (0.5, 2))
            layer.set_weights([random.uniform(low, high, channels) for low, high in ranges])
    return network


def at_work(network: Any, pixels: npt.NDArray[np.uint8], seed: int = 0) -> Any:
    """Statistics of these films, uint8 [films, side, side], in every normalisation, and small logits.

    A deep random network that takes all from each layer that its films have in common amplifies rounding without
    end, so only a tenth of the mean is taken; and what rounding is left weighs little in small logits.
    """
    random = np.random.default_rng(seed)
    films = pixels[..., None].astype(np.float32)
    normalisations = [layer for layer in network.layers if isinstance(layer, layers.BatchNormalization)]
    momenta = [layer.momentum for layer in normalisations]
    for layer in normalisations:
        layer.momentum = 0.0
    for layer in network.layers:
        if type(layer).__name__ == "LayerScale":
            layer.gamma.assign(random.uniform(0.1, 0.5, layer.gamma.shape))
    network(films, training=True)
    for layer, momentum in zip(normalisations, momenta, strict=True):
        layer.momentum = momentum
        mean, variance = (
            keras.ops.convert_to_numpy(part) for part in (layer.moving_mean, layer.moving_variance)
        )
        layer.moving_mean.assign(0.1 * mean)
        layer.moving_variance.assign(variance + (0.9 * mean) ** 2)
    head = network.get_layer("logits")
    kernel, bias = head.get_weights()
    logits = keras.ops.convert_to_numpy(network(films))
    gain = 0.2 / logits.std(axis=0)
    head.set_weights([kernel * gain, (bias - logits.mean(axis=0)) * gain])
    return network


@pytest.fixture(scope="session")
def our_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet50 of the registry, as `fit` saves it."""
    path = tmp_path_factory.mktemp("ours") / "model.keras"
    keras.utils.set_random_seed(1)
    awake(build("resnet50", input_size=SIDE)).save(path)
    return path


@pytest.fixture(scope="session")
def ours(our_file: Path) -> Anatomy:
    """The same, taken apart."""
    return take_apart(our_file, None)


UserNetwork = Callable[[str], Any]


def functional(activation: str = "sigmoid", units: int = 1, channels: int = 3, *, pooled: bool = True) -> Any:
    """A user's functional network: convolutions, pooling or flattening, dropout, one sigmoid."""
    inputs = keras.Input((SIDE, SIDE, channels))
    x = layers.Conv2D(8, 5, strides=4, activation="relu")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(12, 3, strides=2, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x) if pooled else layers.Flatten()(x)
    x = layers.Dropout(0.5)(x)
    return awake(keras.Model(inputs, layers.Dense(units, activation=activation)(x)))


def nested() -> Any:
    """A user's Sequential around a whole backbone, as tutorials write it."""
    base = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Conv2D(8, 5, strides=4, activation="relu"),
            layers.Conv2D(12, 3, strides=2, activation="relu"),
        ]
    )
    return keras.Sequential(
        [base, layers.GlobalAveragePooling2D(), layers.Dropout(0.3), layers.Dense(1, activation="sigmoid")]
    )


@pytest.fixture(scope="session")
def pixels() -> npt.NDArray[np.uint8]:
    """Noise films, uint8 [5, side, side]."""
    return np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE)).astype(np.uint8)
