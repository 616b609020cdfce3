"""Networks by name: each takes greyscale films and answers with two logits.

Every network normalises its input itself, so that what goes in is always a film's grey levels. The head is
global average pooling, dropout and one dense layer of two logits: *pneumonia*, and *bacterial given
pneumonia*.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from keras import layers

PNEUMONIA, BACTERIAL = 0, 1
"""Columns of the logits."""

CAFFE_MEANS_BGR = (103.939, 116.779, 123.68)


class WeightsError(ValueError):
    """The weights named cannot be had or do not fit the network."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """How to build one backbone: `trunk(weights, inputs)` maps three channels to feature maps."""

    name: str
    normalise: Callable[[Any], Any]
    trunk: Callable[[str | None, Any], Any]


def _caffe(films: Any) -> Any:
    """Grey levels → the BGR channels that the weights of ResNet and VGG expect, each less its mean."""
    channels = layers.Concatenate(name="grey_to_bgr", dtype="float32")([films, films, films])
    means = [-mean for mean in CAFFE_MEANS_BGR]
    return layers.Rescaling(1.0, offset=means, name="normalise", dtype="float32")(channels)


def _resnet50(weights: str | None, inputs: Any) -> Any:
    """He et al., Deep Residual Learning for Image Recognition, 2015."""
    return keras.applications.ResNet50(include_top=False, weights=weights, input_tensor=inputs).output


def _scale11(films: Any) -> Any:
    """Grey levels → one channel from −1 to 1."""
    return layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise", dtype="float32")(films)


def _small_resnet(weights: str | None, inputs: Any) -> Any:
    """Eighteen layers of basic blocks at three eighths of the usual width, 1.6 million parameters.

    What ranks choices of training on two CPU cores, where a ResNet50 would take days.
    """
    if weights:
        raise WeightsError("small_resnet has no published weights.")
    x = _normed(inputs, 24, 7, 2)
    x = layers.MaxPooling2D(3, 2, padding="same")(layers.ReLU()(x))
    for stage, width in enumerate((24, 48, 96, 192)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            straight = x if stride == 1 else _normed(x, width, 1, stride)
            inner = layers.ReLU()(_normed(x, width, 3, stride))
            x = layers.ReLU()(layers.Add()([straight, _normed(inner, width, 3, 1)]))
    return x


def _normed(x: Any, width: int, size: int, stride: int) -> Any:
    x = layers.Conv2D(width, size, stride, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    return layers.BatchNormalization(momentum=0.9)(x)


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("resnet50", normalise=_caffe, trunk=_resnet50),
        Architecture("small_resnet", normalise=_scale11, trunk=_small_resnet),
    )
}


def build(
    name: str, *, input_size: int | None = None, weights: str | Path = "none", dropout: float = 0.2
) -> keras.Model:
    """A network of the registry.

    Args:
        name: key of `ARCHITECTURES`.
        input_size: side of the films; None lets every batch have its own.
        weights: `none` (random), `imagenet` (the backbone's published weights, downloaded by Keras), or a
            `.keras` or `.weights.h5` file of the same network.
        dropout: share of the pooled features dropped in training.

    Returns:
        A model from `films` (float32, [batch, side, side, 1], 0–255) to `logits` (float32, [batch, 2]).

    Raises:
        WeightsError: the weights cannot be had or do not fit.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"There is no architecture {name!r}; there are {', '.join(ARCHITECTURES)}.")
    architecture = ARCHITECTURES[name]
    films = keras.Input((input_size, input_size, 1), name="films", dtype="float32")
    try:
        trunk_weights = "imagenet" if str(weights) == "imagenet" else None
        features = architecture.trunk(trunk_weights, architecture.normalise(films))
    except Exception as error:
        if trunk_weights is None:
            raise
        raise WeightsError(
            f"The ImageNet weights of {name} could not be downloaded ({error}). On a machine without a "
            "way to Keras's model store, give a file (--weights PATH) or start from --weights none."
        ) from error
    pooled = layers.GlobalAveragePooling2D(name="pool", dtype="float32")(features)
    dropped = layers.Dropout(dropout, name="head_dropout", dtype="float32")(pooled)
    logits = layers.Dense(2, name="logits", dtype="float32")(dropped)
    model = keras.Model(films, logits, name=name)
    if str(weights) not in ("none", "imagenet"):
        _load(model, Path(weights))
    return model


def freeze_all_but_top(model: keras.Model, count: int) -> None:
    """Freeze the backbone but for its top `count` layers; normalisation, pooling and head stay trainable."""
    pool = [layer.name for layer in model.layers].index("pool")
    for layer in model.layers[: pool - count]:
        layer.trainable = False


def _load(model: keras.Model, path: Path) -> None:
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}.")
    try:
        if path.suffix == ".keras":
            model.set_weights(keras.saving.load_model(path, compile=False).get_weights())
        else:
            model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise WeightsError(f"{path} does not fit the network {model.name}: {error}") from error
