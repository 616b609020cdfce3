"""Networks by name: each takes greyscale films and answers with two logits.

Every network normalises its input itself, so that what goes in is always a film's grey levels. The head is
dropout and one dense layer of two logits, *pneumonia*, and *bacterial given pneumonia*, on features that are the
global average of the last feature maps; the plain networks flatten their maps instead, so that they have one input
size and no heat map.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
from keras import layers

PNEUMONIA, BACTERIAL = 0, 1
"""Columns of the logits."""

CAFFE_MEANS_BGR = (103.939, 116.779, 123.68)
TORCH_MEANS_RGB, TORCH_DEVIATIONS_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Trunk = Callable[[str | None, Any], Any]


class WeightsError(ValueError):
    """The weights named cannot be had or do not fit the network."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """How to build one network below its head.

    `normalise`: grey levels → what the trunk expects. `trunk(weights, inputs)`: that → feature maps, or features
    where it `flattens`. `source`: where it was published. `smallest`: side of the smallest film. `published`:
    whether there are ImageNet weights.
    """

    name: str
    normalise: Callable[[Any], Any]
    trunk: Trunk
    source: str = ""
    smallest: int = 32
    flattens: bool = False
    published: bool = True

    def check_sizes(self, sizes: set[int]) -> None:
        """Whether films of these sides can be learnt from in one run.

        Raises:
            ValueError: one is too small, or there are several and the network has one size.
        """
        if min(sizes) < self.smallest:
            raise ValueError(
                f"{self.name} takes films from {self.smallest} px on, not {min(sizes)}: give --stages without "
                "smaller ones, such as --stages 112x10,224x4."
            )
        if self.flattens and len(sizes) > 1:
            raise ValueError(
                f"{self.name} flattens its feature maps, so it learns at one size only, not at {sorted(sizes)}: "
                "give one stage of the network's size, such as --stages 224x10."
            )


def _grey(films: Any) -> Any:
    """Grey levels → three equal channels, for a trunk that normalises by itself."""
    return layers.Concatenate(name="grey_to_rgb", dtype="float32")([films, films, films])


def _caffe(films: Any) -> Any:
    """Grey levels → the BGR channels that the weights of ResNet and VGG expect, each less its mean."""
    channels = layers.Concatenate(name="grey_to_bgr", dtype="float32")([films, films, films])
    means = [-mean for mean in CAFFE_MEANS_BGR]
    return layers.Rescaling(1.0, offset=means, name="normalise", dtype="float32")(channels)


def _torch(films: Any) -> Any:
    """Grey levels → the RGB channels that the weights of DenseNet expect, standardised."""
    scale = [1 / (255 * deviation) for deviation in TORCH_DEVIATIONS_RGB]
    offset = [-mean / dev for mean, dev in zip(TORCH_MEANS_RGB, TORCH_DEVIATIONS_RGB, strict=True)]
    return layers.Rescaling(scale, offset=offset, name="normalise", dtype="float32")(_grey(films))


def _scale11(films: Any) -> Any:
    """Grey levels → one channel from −1 to 1."""
    return layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise", dtype="float32")(films)


def _scale11_of_three(films: Any) -> Any:
    """Grey levels → three equal channels from −1 to 1, as the weights of Inception expect."""
    return _scale11(_grey(films))


def _application(name: str, weights: str | None, inputs: Any) -> Any:
    """A network of `keras.applications`, without its own head."""
    return getattr(keras.applications, name)(include_top=False, weights=weights, input_tensor=inputs).output


def _cnn(_weights: str | None, x: Any) -> Any:
    """Three convolutions of 32, 64 and 128 channels, each normalised and max-pooled, and 512 dense units."""
    for width in (32, 64, 128):
        x = layers.MaxPooling2D(2)(layers.ReLU()(_normed(x, width, 3, 1)))
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    return layers.Dense(512, activation="relu", kernel_initializer="he_normal")(x)


def _cnn5(_weights: str | None, x: Any) -> Any:
    """Five blocks of two convolutions, 16 to 256 channels, with dropout from the third on; 256 dense units."""
    for block, width in enumerate((16, 32, 64, 128, 256)):
        for _ in range(2):
            x = layers.ReLU()(_normed(x, width, 3, 1))
        x = layers.MaxPooling2D(2)(x)
        if block >= 2:
            x = layers.Dropout(0.2)(x)
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    return layers.Dense(256, activation="relu", kernel_initializer="he_normal")(x)


def _small_resnet(_weights: str | None, inputs: Any) -> Any:
    """Eighteen layers of basic blocks at three eighths of the usual width, 1.6 million parameters.

    What ranks choices of training on two CPU cores, where a ResNet50 would take days.
    """
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


def _published(name: str, normalise: Callable[[Any], Any], source: str, smallest: int = 32) -> Architecture:
    trunk = partial(_application, name)
    return Architecture(name.lower(), normalise, trunk, source=source, smallest=smallest)


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            "cnn",
            _scale11,
            _cnn,
            "three plain convolutions",
            32,
            flattens=True,
            published=False,
        ),
        Architecture(
            "cnn5",
            _scale11,
            _cnn5,
            "five plain blocks of two convolutions",
            32,
            flattens=True,
            published=False,
        ),
        Architecture("small_resnet", _scale11, _small_resnet, "He et al., 2015, narrower", published=False),
        _published("VGG16", _caffe, "Simonyan and Zisserman, 2014"),
        _published("VGG19", _caffe, "Simonyan and Zisserman, 2014"),
        Architecture(
            "inception_v3",
            _scale11_of_three,
            partial(_application, "InceptionV3"),
            "Szegedy et al., 2015",
            smallest=75,
        ),
        _published("ResNet50", _caffe, "He et al., 2015"),
        _published("DenseNet121", _torch, "Huang et al., 2016"),
        # Both normalise by themselves. ConvNeXt's last maps must be larger than 1 × 1: tf2onnx mistakes the axes
        # of a layer normalisation there.
        _published("EfficientNetV2B0", _grey, "Tan and Le, 2021"),
        Architecture(
            "convnext_tiny", _grey, partial(_application, "ConvNeXtTiny"), "Liu et al., 2022", smallest=64
        ),
    )
}


def build(
    name: str, *, input_size: int | None = None, weights: str | Path = "none", dropout: float = 0.2
) -> keras.Model:
    """A network of the registry.

    Args:
        name: key of `ARCHITECTURES`.
        input_size: side of the films; None lets every batch have its own, where the network does not flatten.
        weights: `none` (random), `imagenet` (the backbone's published weights, downloaded by Keras), or a
            `.keras` or `.weights.h5` file of the same network.
        dropout: share of the features before the head dropped in training.

    Returns:
        A model from `films` (float32, [batch, side, side, 1], 0–255) to `logits` (float32, [batch, 2]). Its
        layer `pool` takes the last feature maps to features, [batch, features]; what flattens hands them on.

    Raises:
        WeightsError: the weights cannot be had or do not fit.
        ValueError: there is no such network, or it takes no films of that side.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"There is no architecture {name!r}; there are {', '.join(ARCHITECTURES)}.")
    architecture = ARCHITECTURES[name]
    if input_size is not None:
        architecture.check_sizes({input_size})
    elif architecture.flattens:
        raise ValueError(f"{name} flattens its feature maps, so it needs an input size.")
    from_imagenet = str(weights) == "imagenet"
    if from_imagenet and not architecture.published:
        raise WeightsError(f"{name} has no ImageNet weights; it starts from --weights none, or from a file.")
    films = keras.Input((input_size, input_size, 1), name="films", dtype="float32")
    try:
        features = architecture.trunk("imagenet" if from_imagenet else None, architecture.normalise(films))
    except Exception as error:
        if not from_imagenet:
            raise
        raise WeightsError(
            f"The ImageNet weights of {name} could not be downloaded ({error}). On a machine without a "
            "way to Keras's model store, give a file (--weights PATH) or start from --weights none."
        ) from error
    pool = layers.Identity if architecture.flattens else layers.GlobalAveragePooling2D
    pooled = pool(name="pool", dtype="float32")(features)
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
