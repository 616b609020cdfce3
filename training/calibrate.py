"""From logits on held-out films to probabilities, a threshold, a band of doubt and a limit of novelty."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops
from pydantic import BaseModel, ConfigDict
from scipy.optimize import minimize
from scipy.special import logit
from sklearn.model_selection import GroupKFold

from app.engine.manifest import Calibration, ExposureLimits, Novelty, Threshold, UncertaintyBand
from app.imaging.radiograph import measure_exposure
from training.dataset import Dataset
from training.metrics import (
    Array,
    Scored,
    brier_score,
    calibration_error,
    choose_threshold,
    evaluate,
)

TARGET_SENSITIVITY = 0.95
COVERAGE = 0.99
NOVELTY_RANK = 64
NOVELTY_FLOOR = 0.003
NOVELTY_SHARE = 0.01
POOL = "pool"
"""Name of the layer that pools the last feature maps, or hands on the features of a network that flattens them."""
EXPOSURE_TAIL = 0.002
_TEMPERATURES = (0.05, 20.0)

Features = npt.NDArray[np.float32]


class Scaling(BaseModel):
    """`probability = sigmoid((logit + bias) / temperature)` (Platt, 1999; with bias 0, Guo et al., 2017)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float
    bias: float

    def __call__(self, logits: npt.NDArray[np.floating]) -> Array:
        """Probabilities, float64, of logits of any shape."""
        return sigmoid((logits.astype(np.float64) + self.bias) / self.temperature)

    def logits(self, probabilities: npt.NDArray[np.floating]) -> Array:
        """The logits, float64, that it makes these probabilities of; kept 1e-7 away from 0 and 1."""
        clipped = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
        scaled: Array = self.temperature * logit(clipped) - self.bias
        return scaled


def sigmoid(values: Array) -> Array:
    """The logistic function, without overflow."""
    result: Array = 0.5 * (1 + np.tanh(0.5 * values))
    return result


def fit_scaling(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> Scaling:
    """Temperature and bias of least cross-entropy.

    Platt's smoothed targets keep the temperature finite where the classes are parted cleanly.
    """
    values = logits.astype(np.float64)
    positives = int(labels.sum())
    negatives = len(labels) - positives
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def cost(parameters: Array) -> float:
        scaled = (values + parameters[1]) / np.exp(parameters[0])
        return float(np.mean(np.logaddexp(0, scaled) - targets * scaled))

    reach = float(np.abs(values).max()) + 1
    found = minimize(
        cost,
        x0=np.zeros(2),
        bounds=(tuple(np.log(_TEMPERATURES)), (-reach, reach)),
        method="L-BFGS-B",
    )
    return Scaling(temperature=float(np.exp(found.x[0])), bias=float(found.x[1]))


def cross_fit(logits: npt.NDArray[np.floating], scored: Scored) -> Array:
    """Probabilities, float64 [films], each by a scaling that was fitted on other patients' films."""
    probabilities = np.empty(len(scored.labels))
    parts = min(5, len(np.unique(scored.groups)))
    for rest, part in GroupKFold(parts).split(logits, scored.labels, scored.groups):
        probabilities[part] = fit_scaling(logits[rest], scored.labels[rest])(logits[part])
    return probabilities


def describe_calibration(logits: npt.NDArray[np.floating], scored: Scored, scaling: Scaling) -> Calibration:
    """The manifest's entry; its error and Brier score are cross-fitted by patient."""
    labels = scored.labels
    raw = sigmoid(logits.astype(np.float64))
    cross_fitted = cross_fit(logits, scored)
    return Calibration(
        temperature=scaling.temperature,
        prevalence=float(labels.mean()),
        expected_calibration_error=calibration_error(labels, cross_fitted),
        brier_score=brier_score(labels, cross_fitted),
        uncalibrated_error=calibration_error(labels, raw),
        uncalibrated_brier_score=brier_score(labels, raw),
    )


def describe_threshold(scored: Scored, target: float = TARGET_SENSITIVITY) -> Threshold:
    """The recall-tuned threshold of probabilities, with what it gives on these films."""
    value = choose_threshold(scored, target)
    figures = evaluate(scored, value)
    return Threshold(
        value=value,
        rule=f"the largest whose sensitivity's lower 95 % bound reaches {target:g} on the held-out fold",
        target_sensitivity=target,
        sensitivity=figures.sensitivity,
        specificity=figures.specificity,
    )


def describe_uncertainty(scored: Scored, coverage: float = COVERAGE) -> UncertaintyBand:
    """Where one label alone is not plausible at `coverage`.

    Class-conditional (Mondrian) split conformal prediction (Vovk et al., 2005): a label is plausible unless
    the film's probability is more extreme than all but 1 - `coverage` of that class's held-out films.
    """
    pneumonia = np.sort(scored.scores[scored.labels == 1])
    normal = np.sort(scored.scores[scored.labels == 0])
    # The finite-sample rank; with too few films no probability can be ruled out.
    miss = int(np.floor((1 - coverage) * (len(pneumonia) + 1)))
    lowest = float(pneumonia[miss - 1]) if miss else 0.0
    miss = int(np.floor((1 - coverage) * (len(normal) + 1)))
    highest = float(normal[len(normal) - miss]) if miss else 1.0
    low, high = min(lowest, highest), max(lowest, highest)
    inside = (scored.scores >= low) & (scored.scores <= high)
    return UncertaintyBand(low=low, high=high, coverage=coverage, share_of_films=float(inside.mean()))


def describe_novelty(novelty: npt.NDArray[np.floating], space: "FeatureSpace") -> Novelty:
    """The limit that all but `NOVELTY_SHARE` of these held-out films keep.

    Args:
        novelty: of the held-out films, [films], as the very file tells it that the limit is for.
        space: what it is a distance in.
    """
    limit = float(np.quantile(novelty, 1 - NOVELTY_SHARE))
    return Novelty(limit=limit, share_of_films=float((novelty > limit).mean()), method=space.method)


def describe_exposure(films: Dataset) -> ExposureLimits:
    """Limits that all but a thousandth or two of the training films keep."""
    exposures = [measure_exposure(film) for film in films.pixels]
    brightness = [exposure.brightness for exposure in exposures]
    contrast = [exposure.contrast for exposure in exposures]
    return ExposureLimits(
        brightness_low=float(np.quantile(brightness, EXPOSURE_TAIL)),
        brightness_high=float(np.quantile(brightness, 1 - EXPOSURE_TAIL)),
        contrast_low=float(np.quantile(contrast, EXPOSURE_TAIL)),
    )


def middle_layer(network: keras.Model) -> str:
    """Name of the layer whose maps novelty looks at; `POOL` where the network has none.

    The last layer whose maps are at least four times (or else twice) as wide as the last ones: the end of
    `conv3` in ResNet50. Maps there still tell texture and place, which the last ones, learnt to tell labels
    alone, do not; and int8 has rounded less often on the way to them.

    Args:
        network: with a layer `POOL` and an input of fixed size.

    Raises:
        ValueError: its input has no fixed size.
    """
    if network.input.shape[1] is None:
        raise ValueError("The network has no fixed input size, so its middle cannot be told.")
    convolved = False
    sides: dict[str, int] = {}
    for layer in network.layers:
        convolved = convolved or isinstance(layer, layers.Conv2D)
        if convolved and len(layer.output.shape) == 4:
            sides[layer.name] = layer.output.shape[1]
    last = list(sides.values())[-1] if sides else 0
    for factor in (4, 2):
        wide = [name for name, side in sides.items() if side >= factor * last]
        if wide:
            return wide[-1]
    return POOL


def pool_halves(maps: Any) -> Any:
    """Feature maps, [batch, h, w, channels] → means of their upper and lower half, [batch, 2 × channels].

    Halves, so that a film upside down is not the mean that it was; a middle row is in both.
    """
    rows = (maps.shape[1] + 1) // 2
    return ops.concatenate(
        [ops.mean(half, axis=(1, 2)) for half in (maps[:, :rows], maps[:, -rows:])], axis=1
    )


def novelty_features(network: keras.Model, layer: str) -> keras.Model:
    """From films to the features of a `FeatureSpace`, float32 [batch, features].

    Args:
        network: with a layer `POOL`. layer: as `middle_layer` names it.
    """
    maps = network.get_layer(layer).output
    return keras.Model(network.input, maps if layer == POOL else pool_halves(maps))


class FeatureSpace:
    """A low-rank Gaussian of the training films' features.

    `novelty` is the mean squared Mahalanobis distance a dimension: within the leading `rank` principal
    directions by their own variances, outside them by the mean variance that is left (Lee et al., 2018;
    probabilistic PCA, Tipping and Bishop, 1999). Each variance is raised by a floor, so that rounding, in int8
    above all, weighs little where films hardly differ. Its mean over the training films is 1.

    `mean`: float32 [features]. `basis`: float32 [features, rank], orthonormal. `deviations`: float32 [rank],
    standard deviations along it. `rest`: mean variance a dimension outside. `layer`: where the features are
    from; see `novelty_features`.
    """

    def __init__(
        self, mean: Features, basis: Features, deviations: Features, rest: float, layer: str
    ) -> None:
        self.mean = mean
        self.basis = basis
        self.deviations = deviations
        self.rest = rest
        self.layer = layer

    @classmethod
    def fit(
        cls, features: Features, layer: str, rank: int = NOVELTY_RANK, floor: float = NOVELTY_FLOOR
    ) -> "FeatureSpace":
        """From the training films' features.

        Args:
            features: float32 [films, features].
            layer: where they are from.
            rank: directions with a variance of their own.
            floor: what every variance is raised by, as a share of the mean variance a dimension.
        """
        values = features.astype(np.float64)
        mean = values.mean(axis=0)
        _, singular, rows = np.linalg.svd(values - mean, full_matrices=False)
        variances = singular**2 / max(len(values) - 1, 1)
        size = values.shape[1]
        rank = min(rank, len(variances) - 1)
        rest = variances[rank:].sum() / (size - rank)
        raised = max(floor * variances.sum() / size, 1e-12)
        at_home = (
            np.sum(variances[:rank] / (variances[:rank] + raised)) + (size - rank) * rest / (rest + raised)
        ) / size or 1.0  # every feature the same on every film
        return cls(
            mean.astype(np.float32),
            rows[:rank].T.astype(np.float32),
            np.sqrt((variances[:rank] + raised) * at_home).astype(np.float32),
            float((rest + raised) * at_home),
            layer,
        )

    @property
    def method(self) -> str:
        """How novelty is measured, in words for the manifest."""
        place = (
            "of the pooled last feature maps"
            if self.layer == POOL
            else f"of the mean over the upper and over the lower half of the maps of layer {self.layer}"
        )
        return f"Mahalanobis distance {place}, of rank {len(self.deviations)}, squared, mean a dimension"

    def novelty(self, features: Features) -> Array:
        """Novelty of films, float64 [films], from their features, float32 [films, features]."""
        centred = features.astype(np.float64) - self.mean
        along = centred @ self.basis
        inside = np.sum((along / self.deviations) ** 2, axis=1)
        outside = np.maximum(np.sum(centred**2, axis=1) - np.sum(along**2, axis=1), 0) / self.rest
        distance: Array = (inside + outside) / features.shape[1]
        return distance

    def save(self, path: Path) -> None:
        """Write as `.npz`."""
        np.savez(
            path,
            mean=self.mean,
            basis=self.basis,
            deviations=self.deviations,
            rest=self.rest,
            layer=np.array(self.layer),
        )

    @classmethod
    def load(cls, path: Path) -> "FeatureSpace":
        """Read what `save` wrote; what was written before layers were named is of the pooled features."""
        with np.load(path) as saved:
            layer = str(saved["layer"]) if "layer" in saved else POOL
            return cls(saved["mean"], saved["basis"], saved["deviations"], float(saved["rest"]), layer)
