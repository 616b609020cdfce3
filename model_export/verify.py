"""What must hold before a file is written."""

from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from model_export.deployable import Anatomy
from training.calibrate import POOL, FeatureSpace, Scaling, pool_halves, sigmoid
from training.metrics import Scored, evaluate

SINGLE_TOLERANCE = 1e-4
HALF_TOLERANCE = 5e-3
NOVELTY_TOLERANCE = 0.02
INT8_AUC_LOSS = 0.002
INT8_LABELS_CHANGED = 0.005

Array = npt.NDArray[np.float64]
Outputs = dict[str, npt.NDArray[np.float32]]


class ParityError(RuntimeError):
    """A converted file does not say what the network says."""


@dataclass(frozen=True, slots=True)
class Parity:
    """Largest differences seen, over `films` films.

    `probability`: of Keras and single precision. `heatmap`: of the heat map's mean and the pneumonia logit that
    the network's own head gives (None without a heat map). `half`: of single and half precision. `novelty`: of
    Keras and either precision, as a share of the novelty (None where it is not told).
    """

    films: int
    probability: float
    heatmap: float | None
    half: float
    novelty: float | None = None


@dataclass(frozen=True, slots=True)
class Int8Parity:
    """Half precision against int8 on held-out films, each at its own threshold."""

    auc: float
    auc_half: float
    labels_changed: float

    @property
    def holds(self) -> bool:
        """Whether int8 may be shipped."""
        return abs(self.auc_half - self.auc) <= INT8_AUC_LOSS and self.labels_changed <= INT8_LABELS_CHANGED


def probe_films(side: int, count: int = 16, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Films to compare on, uint8 [count, side, side]: one half noise, one half smooth shapes like a chest."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (count - count // 2, side, side))
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    chests = []
    for _ in range(count // 2):
        field = 150 * np.exp(-(x**2) / rng.uniform(0.02, 0.1)) + 60
        for sign in (-1, 1):
            lung = ((x - sign * rng.uniform(0.4, 0.5)) / 0.3) ** 2 + (y / rng.uniform(0.6, 0.8)) ** 2
            field = field + rng.uniform(20, 80) * np.tanh(4 * (lung - 1))
        field = field + rng.uniform(0, 20) * np.sin(y * rng.uniform(15, 30)) + rng.normal(0, 4, field.shape)
        chests.append(field)
    films: npt.NDArray[np.uint8] = np.clip([*noise, *chests], 0, 255).astype(np.uint8)
    return films


def run(model: onnx.ModelProto, pixels: npt.NDArray[np.uint8], batch: int = 8) -> Outputs:
    """Outputs of an ONNX graph by name, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    parts = [
        session.run(names, {"pixels": pixels[start : start + batch]})
        for start in range(0, len(pixels), batch)
    ]
    return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}


def keras_logits(anatomy: Anatomy, pixels: npt.NDArray[np.uint8]) -> Array:
    """Pneumonia logits, float64 [films], of the network in Keras, before any calibration."""
    logits = []
    for start in range(0, len(pixels), 16):
        films = pixels[start : start + 16, ..., None].astype(np.float32)
        features = keras.ops.convert_to_numpy(anatomy.trunk.predict_on_batch(films))
        pooled = features.mean(axis=(1, 2)) if anatomy.spatial else features
        logits.append((pooled.astype(np.float64) @ anatomy.kernel + anatomy.bias)[:, 0])
    return np.concatenate(logits)


def keras_novelty(anatomy: Anatomy, space: FeatureSpace, pixels: npt.NDArray[np.uint8]) -> Array:
    """Novelty, float64 [films], of the network in Keras and the feature space itself."""
    trunk = anatomy.trunk
    if space.layer != POOL:
        seen = pool_halves(trunk.get_layer(space.layer).output)
    else:
        seen = keras.ops.mean(trunk.output, axis=(1, 2)) if anatomy.spatial else trunk.output
    network = keras.Model(trunk.input, seen)
    features = [
        keras.ops.convert_to_numpy(network.predict_on_batch(pixels[i : i + 16, ..., None].astype(np.float32)))
        for i in range(0, len(pixels), 16)
    ]
    return space.novelty(np.concatenate(features))


def check(
    anatomy: Anatomy,
    scaling: Scaling,
    single: onnx.ModelProto,
    half: onnx.ModelProto,
    pixels: npt.NDArray[np.uint8],
    *,
    space: FeatureSpace | None = None,
) -> Parity:
    """Compare the network in Keras (its own trunk and head, not the deployable form) with both graphs.

    Args:
        anatomy: the network. scaling: its calibration.
        single, half: the graphs in single and in half precision.
        pixels: films to compare on, uint8 [films, side, side].
        space: where novelty is measured; None where the graphs do not tell it.

    Raises:
        ParityError: a difference exceeds its tolerance.
    """
    logit = keras_logits(anatomy, pixels) + scaling.bias
    expected = sigmoid(logit / scaling.temperature)
    in_single, in_half = run(single, pixels), run(half, pixels)
    parity = Parity(
        films=len(pixels),
        probability=_gap(in_single["probability"], expected),
        heatmap=_gap(in_single["heatmap"].mean(axis=(1, 2)), logit) if anatomy.spatial else None,
        half=_gap(in_half["probability"], in_single["probability"]),
        novelty=None if space is None else _novelty_gap(anatomy, space, in_single, in_half, pixels),
    )
    if parity.probability > SINGLE_TOLERANCE:
        raise ParityError(f"Keras and ONNX differ by {parity.probability:.2g}.")
    logit_tolerance = SINGLE_TOLERANCE * max(1.0, float(np.abs(logit).max()))
    if parity.heatmap is not None and parity.heatmap > logit_tolerance:
        raise ParityError(f"The heat map's mean differs from the pneumonia logit by {parity.heatmap:.2g}.")
    if parity.half > HALF_TOLERANCE:
        raise ParityError(f"Half precision moves a probability by {parity.half:.2g}.")
    if parity.novelty is not None and parity.novelty > NOVELTY_TOLERANCE:
        raise ParityError(f"Novelty differs between Keras and ONNX by {parity.novelty:.1%}.")
    return parity


def compare_int8(half: Scored, int8: Scored, half_threshold: float, int8_threshold: float) -> Int8Parity:
    """AUC of both, and the share of films that get another label."""
    changed = (half.scores >= half_threshold) != (int8.scores >= int8_threshold)
    return Int8Parity(
        auc=evaluate(int8, int8_threshold).auc.value,
        auc_half=evaluate(half, half_threshold).auc.value,
        labels_changed=float(changed.mean()),
    )


def _novelty_gap(
    anatomy: Anatomy, space: FeatureSpace, single: Outputs, half: Outputs, pixels: npt.NDArray[np.uint8]
) -> float:
    expected = keras_novelty(anatomy, space, pixels)
    return max(_gap(found["novelty"] / expected, np.ones(len(expected))) for found in (single, half))


def _gap(left: npt.NDArray[np.floating], right: npt.NDArray[np.floating]) -> float:
    return float(np.abs(left.astype(np.float64) - right.astype(np.float64)).max())
