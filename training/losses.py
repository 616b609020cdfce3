"""Binary cross-entropy, plain or focal, of the head's two logits."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops

from training.architectures import BACTERIAL, PNEUMONIA
from training.dataset import Dataset

KNOWN = 2
"""Column of the targets that says whether the kind is known."""


def targets_of(films: Dataset) -> npt.NDArray[np.float32]:
    """Targets, float32 [films, 3]: pneumonia, bacterial, and whether the kind is known; each 0 or 1."""
    bacterial, viral = films.kinds == "bacterial", films.kinds == "viral"
    return np.stack([films.labels, bacterial, bacterial | viral], axis=1).astype(np.float32)


def style_weights(films: Dataset) -> npt.NDArray[np.float32]:
    """Weights, float32 [films], under which hard and easy films of a class weigh the same in sum.

    Their mean over a class is 1. A static form of group-distributionally robust training (Sagawa et al., 2020).

    Raises:
        ValueError: the films have no slices of style.
    """
    weights = np.ones(len(films), np.float32)
    for label, name in enumerate(("hard_normal", "hard_pneumonia")):
        if name not in films.slices:
            raise ValueError("Balance by style needs slices of style: there are too few patients for them.")
        of_class, hard = films.labels == label, films.slices[name]
        for part in (hard, of_class & ~hard):
            weights[part] = of_class.sum() / (2 * part.sum())
    return weights


def mix(
    films: npt.NDArray[np.float32],
    targets: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    alpha: float,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """MixUp (Zhang et al., 2018): each film of a batch with another, by a share from Beta(`alpha`, `alpha`).

    Args:
        films: [batch, side, side, 1]. targets: [batch, 3], of `targets_of`. weights: [batch].
        alpha: how much is mixed.
        rng: where the shares and the partners come from.

    Returns:
        Films, targets and weights, mixed. A kind that is known of one film alone keeps its value and counts by
        that film's share.
    """
    share = rng.beta(alpha, alpha, len(films)).astype(np.float32)
    partner = rng.permutation(len(films))

    def blend(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        part = share.reshape(-1, *[1] * (values.ndim - 1))
        mixed: npt.NDArray[np.float32] = part * values + (1 - part) * values[partner]
        return mixed

    known = blend(targets[:, KNOWN])
    bacterial = blend(targets[:, BACTERIAL] * targets[:, KNOWN]) / np.maximum(known, 1e-6)
    mixed_targets = np.stack([blend(targets[:, PNEUMONIA]), bacterial, known], axis=1)
    return blend(films), mixed_targets, blend(weights)


def head_loss(
    *,
    label_smoothing: float,
    kind_weight: float,
    class_weights: tuple[float, float],
    consistency: float = 0.0,
    focal_gamma: float = 0.0,
) -> Callable[[Any, Any], Any]:
    """Loss a film: weighted cross-entropy of pneumonia, plus `kind_weight` times that of the kind.

    With `focal_gamma`, each cross-entropy counts by how wrong the answer is, |target − probability| to that power
    (Lin et al., 2017; for smoothed targets, Li et al., 2020).

    Targets are those of `targets_of`, or shares between 0 and 1; the kind counts as far as it is known.
    `class_weights`: of normal and of pneumonia films.
    With `consistency`, logits are those of two views of each film, [films, 2 views, 2]: the loss is the views'
    mean, plus `consistency` times the squared distance of their pneumonia logits.
    """
    of_normal, of_pneumonia = map(float, class_weights)

    def loss(targets: Any, logits: Any) -> Any:
        if not consistency:
            return of_view(targets, logits)
        one, other = logits[:, 0], logits[:, 1]
        apart = ops.square(one[:, PNEUMONIA] - other[:, PNEUMONIA])
        return (of_view(targets, one) + of_view(targets, other)) / 2 + consistency * apart

    def of_view(targets: Any, logits: Any) -> Any:
        pneumonia = targets[:, PNEUMONIA]
        smooth = pneumonia * (1 - label_smoothing) + 0.5 * label_smoothing
        weight = pneumonia * of_pneumonia + (1 - pneumonia) * of_normal
        known = targets[:, KNOWN]
        smooth_kind = targets[:, BACTERIAL] * (1 - label_smoothing) + 0.5 * label_smoothing
        return weight * _cross_entropy(smooth, logits[:, PNEUMONIA], focal_gamma) + (
            kind_weight * known * _cross_entropy(smooth_kind, logits[:, BACTERIAL], focal_gamma)
        )

    return loss


def _cross_entropy(target: Any, logit: Any, focal_gamma: float) -> Any:
    loss = ops.softplus(logit) - target * logit
    if not focal_gamma:
        return loss
    # The small number keeps the slope finite where the answer is exactly right.
    return loss * (ops.abs(target - ops.sigmoid(logit)) + 1e-7) ** focal_gamma


def balanced_class_weights(labels: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Weights of normal and pneumonia films under which both classes weigh the same in sum."""
    normal, pneumonia = np.bincount(labels, minlength=2)
    return float(len(labels) / (2 * normal)), float(len(labels) / (2 * pneumonia))
