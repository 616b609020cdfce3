"""Binary cross-entropy of the head's two logits."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from training.architectures import BACTERIAL, PNEUMONIA
from training.dataset import Dataset


def targets_of(films: Dataset) -> npt.NDArray[np.float32]:
    """Targets, float32 [films, 2]: pneumonia (0, 1), and bacterial (0, 1; -1 where it is not asked)."""
    bacterial = np.select([films.kinds == "bacterial", films.kinds == "viral"], [1.0, 0.0], -1.0)
    return np.stack([films.labels, bacterial], axis=1).astype(np.float32)


def head_loss(
    *, label_smoothing: float, kind_weight: float, class_weights: tuple[float, float]
) -> Callable[[Any, Any], Any]:
    """Loss a film: weighted cross-entropy of pneumonia, plus `kind_weight` times that of the kind.

    The kind counts on films of known kind alone. `class_weights`: of normal and of pneumonia films.
    """
    of_normal, of_pneumonia = map(float, class_weights)

    def loss(targets: Any, logits: Any) -> Any:
        pneumonia = targets[:, PNEUMONIA]
        smooth = pneumonia * (1 - label_smoothing) + 0.5 * label_smoothing
        weight = ops.where(pneumonia > 0.5, of_pneumonia, of_normal)
        bacterial = targets[:, BACTERIAL]
        known = ops.cast(bacterial >= 0, "float32")
        smooth_kind = ops.maximum(bacterial, 0.0) * (1 - label_smoothing) + 0.5 * label_smoothing
        return weight * _cross_entropy(smooth, logits[:, PNEUMONIA]) + kind_weight * known * _cross_entropy(
            smooth_kind, logits[:, BACTERIAL]
        )

    return loss


def _cross_entropy(target: Any, logit: Any) -> Any:
    return keras.ops.softplus(logit) - target * logit


def balanced_class_weights(labels: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Weights of normal and pneumonia films under which both classes weigh the same in sum."""
    normal, pneumonia = np.bincount(labels, minlength=2)
    return float(len(labels) / (2 * normal)), float(len(labels) / (2 * pneumonia))
