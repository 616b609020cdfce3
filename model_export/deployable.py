"""A trained network → a Keras model of the service's contract.

What the service would otherwise have to match goes inside: grey levels in; calibrated probability, kinds, heat
map and novelty out.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from training.architectures import (
    BACTERIAL,
    CAFFE_MEANS_BGR,
    PNEUMONIA,
    TORCH_DEVIATIONS_RGB,
    TORCH_MEANS_RGB,
)
from training.calibrate import POOL, FeatureSpace, Scaling, pool_halves

Preprocess = Literal["caffe", "scale01", "scale11", "torch"]
PREPROCESS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "caffe": ((1.0, 1.0, 1.0), tuple(-mean for mean in CAFFE_MEANS_BGR)),
    "scale01": ((1 / 255,) * 3, (0.0,) * 3),
    "scale11": ((1 / 127.5,) * 3, (-1.0,) * 3),
    "torch": (
        tuple(1 / (255 * deviation) for deviation in TORCH_DEVIATIONS_RGB),
        tuple(-mean / dev for mean, dev in zip(TORCH_MEANS_RGB, TORCH_DEVIATIONS_RGB, strict=True)),
    ),
}
"""Scale and offset a channel, by the names of `keras.applications.imagenet_utils`; scale01 is x / 255."""

READING = "reading"
"""Name of the layer that holds head, calibration, heat map and novelty: kept in float32 in every file."""

Array = npt.NDArray[np.float32]


class NotDeployable(ValueError):
    """A network that the contract cannot be made from; the message says what it should end in."""


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A network taken apart.

    `trunk`: from grey levels (float32, [batch, side, side, 1]) to feature maps ([batch, h, w, features]) or, if
    not `spatial`, to features ([batch, features]). `kernel`, `bias`: the head's, [features, logits] and [logits];
    one logit (pneumonia) or two (and bacterial given pneumonia).
    """

    name: str
    trunk: keras.Model
    kernel: Array
    bias: Array
    spatial: bool
    input_size: int


@keras.saving.register_keras_serializable("pneumoscope")
class Reading(layers.Layer):  # type: ignore[misc]
    """Last feature maps and, for novelty, those of a middle layer → the outputs of the contract.

    The heat map is the head applied to each position of the last feature maps (class activation mapping, Zhou et
    al., 2016): its mean over the positions is the pneumonia logit, calibration's bias included, before
    temperature.
    """

    def __init__(
        self, anatomy: Anatomy, scaling: Scaling, kind_scaling: Scaling | None, space: FeatureSpace | None
    ) -> None:
        super().__init__(name=READING, dtype="float32")
        self.spatial = anatomy.spatial
        self.temperature = scaling.temperature
        self.kind_scaling = kind_scaling or Scaling(temperature=1.0, bias=0.0)
        bias = anatomy.bias.astype(np.float32).copy()
        bias[PNEUMONIA] += scaling.bias
        self.kernel = self._constant("kernel", anatomy.kernel)
        self.bias = self._constant("bias", bias)
        self.with_kinds = len(bias) > BACTERIAL
        self.with_novelty = space is not None
        if space is not None:
            features = len(space.mean)
            self.mean = self._constant("mean", space.mean)
            self.basis = self._constant("basis", space.basis)
            # Distance = |x|² / rest, less along each direction what its own variance explains.
            self.gains = self._constant("gains", (1 / space.deviations**2 - 1 / space.rest) / features)
            self.gain = 1 / (space.rest * features)

    def _constant(self, name: str, value: npt.ArrayLike) -> Any:
        array = np.asarray(value, np.float32)
        return self.add_weight(
            name=name, shape=array.shape, initializer=lambda *_, **__: array, trainable=False
        )

    def call(self, features: Any, middle: Any = None) -> dict[str, Any]:
        """The outputs by name; see the model file's contract.

        Args:
            features: of the trunk, [batch, h, w, features] or [batch, features].
            middle: maps of the feature space's layer, [batch, h, w, channels]; None where that layer pools the
                trunk's.
        """
        features = ops.cast(features, "float32")
        pooled = ops.mean(features, axis=(1, 2)) if self.spatial else features
        logits = ops.matmul(pooled, self.kernel) + self.bias
        probability = ops.sigmoid(logits[:, PNEUMONIA] / self.temperature)
        outputs = {"probability": probability}
        if self.with_kinds:
            kind = self.kind_scaling
            bacterial = ops.sigmoid((logits[:, BACTERIAL] + kind.bias) / kind.temperature)
            outputs["classes"] = ops.stack(
                [1 - probability, probability * bacterial, probability * (1 - bacterial)], axis=1
            )
        if self.spatial:
            outputs["heatmap"] = ops.sum(features * self.kernel[:, PNEUMONIA], axis=-1) + self.bias[PNEUMONIA]
        if self.with_novelty:
            seen = pooled if middle is None else pool_halves(ops.cast(middle, "float32"))
            centred = seen - self.mean
            along = ops.matmul(centred, self.basis)
            outputs["novelty"] = self.gain * ops.sum(ops.square(centred), axis=1) + ops.sum(
                self.gains * ops.square(along), axis=1
            )
        return outputs


def take_apart(path: Path, preprocess: Preprocess | None) -> Anatomy:
    """Open a network of ours, or a user's binary network with its `preprocess` named.

    Raises:
        NotDeployable: the file is unreadable, or its network does not fit.
    """
    try:
        network = keras.saving.load_model(path, compile=False)
    except Exception as error:  # a damaged or foreign file raises whatever its bytes provoke
        raise NotDeployable(f"{path} is not a Keras model that can be read: {error}") from error
    names = [layer.name for layer in network.layers]
    if names[-1:] == ["logits"] and "pool" in names:
        return _of_ours(network)
    if preprocess is None:
        raise NotDeployable(
            f"{path} is not a network of this project: name the preprocessing that it was trained with "
            f"(--preprocess {'|'.join(PREPROCESS)})."
        )
    return _of_users(network, preprocess)


def deployable(
    anatomy: Anatomy,
    scaling: Scaling,
    kind_scaling: Scaling | None = None,
    space: FeatureSpace | None = None,
) -> keras.Model:
    """The network behind the contract's input and before its outputs."""
    side = anatomy.input_size
    pixels = keras.Input((side, side), dtype="uint8", name="pixels")
    grey = layers.Reshape((side, side, 1), dtype="float32", name="grey")(ops.cast(pixels, "float32"))
    reading = Reading(anatomy, scaling, kind_scaling, space)
    if space is None or space.layer == POOL:
        outputs = reading(anatomy.trunk(grey))
    else:
        trunk = anatomy.trunk
        middle = trunk.get_layer(space.layer).output
        outputs = reading(*keras.Model(trunk.input, [trunk.output, middle], name="trunk")(grey))
    return keras.Model(pixels, outputs, name="deployable")


def _of_ours(network: keras.Model) -> Anatomy:
    kernel, bias = network.layers[-1].get_weights()
    pool = network.get_layer("pool")
    return Anatomy(
        name=network.name,
        trunk=keras.Model(network.input, pool.input, name="trunk"),
        kernel=kernel,
        bias=bias,
        spatial=len(pool.input.shape) == 4,
        input_size=_side(network),
    )


def _of_users(network: keras.Model, preprocess: Preprocess) -> Anatomy:
    head = network.layers[-1]
    if not (
        isinstance(head, layers.Dense) and head.units == 1 and head.activation is keras.activations.sigmoid
    ):
        raise NotDeployable(f"The network must end in Dense(1, activation='sigmoid'), not in {_words(head)}.")
    if len(network.inputs) != 1:
        raise NotDeployable(f"The network must have one input, not {len(network.inputs)}.")
    before = list(network.layers[:-1])
    while before and isinstance(before[-1], layers.Dropout):
        before.pop()
    spatial = bool(before) and isinstance(before[-1], layers.GlobalAveragePooling2D)
    inner = keras.Model(network.inputs, before[-1].input if spatial else head.input)
    side, channels = _side(network), network.inputs[0].shape[-1]
    grey = keras.Input((side, side, 1), name="grey", dtype="float32")
    if channels == 3:
        films = layers.Concatenate(name="channels")([grey, grey, grey])
    elif channels == 1:
        films = grey
    else:
        raise NotDeployable(f"The network must take films of 1 or 3 channels, not {channels}.")
    scale, offset = (list(part) if channels == 3 else float(np.mean(part)) for part in PREPROCESS[preprocess])
    films = layers.Rescaling(scale, offset=offset, name="normalise")(films)
    kernel = head.get_weights()[0]
    bias = head.get_weights()[1] if head.use_bias else np.zeros(1, np.float32)
    return Anatomy(
        name=network.name,
        trunk=keras.Model(grey, inner(films), name="trunk"),
        kernel=kernel,
        bias=bias,
        spatial=spatial,
        input_size=side,
    )


def _side(network: keras.Model) -> int:
    shape = network.inputs[0].shape
    if len(shape) != 4 or shape[1] is None or shape[1] != shape[2]:
        raise NotDeployable(f"The network must take square films of a fixed size, not {tuple(shape[1:])}.")
    return int(shape[1])


def _words(layer: Any) -> str:
    if isinstance(layer, layers.Dense):
        return f"Dense({layer.units}, activation='{layer.activation.__name__}')"
    return str(type(layer).__name__)
