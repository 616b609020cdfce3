"""Figures of a classifier, each with a 95 % interval.

Intervals are percentile bootstrap intervals with patients, not films, resampled: films of one patient are not
independent (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from app.engine.manifest import Estimate, Evaluation
from training.dataset import Dataset
from training.folds import group

RESAMPLES = 1000
Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scored:
    """Films with what a model said of them.

    `labels`: int64 [films], 1 pneumonia. `scores`: float64 [films], higher is more pneumonia. `groups`: int64
    [films], films of one patient share one. `slices`: bool [films] each, films of one class to judge apart.
    """

    labels: npt.NDArray[np.int64]
    scores: Array
    groups: npt.NDArray[np.int64]
    slices: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)

    @classmethod
    def of(cls, films: Dataset, scores: npt.NDArray[np.floating]) -> "Scored":
        """`scores` [films] joined to the films' labels, patients and slices."""
        return cls(films.labels, scores.astype(np.float64), group(films.films), films.slices)


def resample(groups: npt.NDArray[np.int64], count: int = RESAMPLES, seed: int = 0) -> npt.NDArray[np.float32]:
    """Weight of each film in each bootstrap resample of the patients: float32, [count, films]."""
    _, patient = np.unique(groups, return_inverse=True)
    patients = int(patient.max()) + 1
    draws = np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), size=count)
    weights: npt.NDArray[np.float32] = draws[:, patient].astype(np.float32)
    return weights


def evaluate(scored: Scored, threshold: float, *, seed: int = 0) -> Evaluation:
    """Every figure at `threshold` (scores at or above it are pneumonia).

    Raises:
        ValueError: one of the classes has no film.
    """
    labels, scores = scored.labels.astype(bool), scored.scores
    if labels.all() or not labels.any():
        raise ValueError("Figures need films of both classes.")
    called = scores >= threshold
    weights = _weights(scored.groups, seed)

    def weigh(mask: Mask) -> Array:
        total: Array = (weights @ mask.astype(np.float32)).astype(np.float64)
        return total

    tp, fn = weigh(labels & called), weigh(labels & ~called)
    fp, tn = weigh(~labels & called), weigh(~labels & ~called)
    auc, average_precision = _ranking(labels, scores, weights)
    slices = {}
    for name, mask in scored.slices.items():
        if (mask & labels).any():
            slices[f"sensitivity_{name}"] = _estimate(_ratio(weigh(mask & called), weigh(mask)))
        elif mask.any():
            slices[f"specificity_{name}"] = _estimate(_ratio(weigh(mask & ~called), weigh(mask)))
    for name, kept in _rankings(scored).items():
        slices[name] = _estimate(_ranking(labels[kept], scores[kept], weights[:, kept])[0])
    return Evaluation(
        films=len(labels),
        normal=int((~labels).sum()),
        pneumonia=int(labels.sum()),
        patients=len(np.unique(scored.groups)),
        accuracy=_estimate((tp + tn) / (tp + tn + fp + fn)),
        sensitivity=_estimate(_ratio(tp, tp + fn)),
        specificity=_estimate(_ratio(tn, tn + fp)),
        precision=_estimate(_ratio(tp, tp + fp)),
        f1=_estimate(_ratio(2 * tp, 2 * tp + fp + fn)),
        auc=_estimate(auc),
        average_precision=_estimate(average_precision),
        true_negatives=int(tn[0]),
        false_positives=int(fp[0]),
        false_negatives=int(fn[0]),
        true_positives=int(tp[0]),
        slices=slices,
    )


def _rankings(scored: Scored) -> dict[str, npt.NDArray[np.bool_]]:
    """Which films the areas under the curve on the hard films compare."""
    if not {"hard_normal", "hard_pneumonia"} <= scored.slices.keys():
        return {}
    hard_normal, hard_pneumonia = scored.slices["hard_normal"], scored.slices["hard_pneumonia"]
    kept = {
        "auc_hard_normal": hard_normal | (scored.labels == 1),
        "auc_against_style": hard_normal | hard_pneumonia,
    }
    return {name: mask for name, mask in kept.items() if np.unique(scored.labels[mask]).size == 2}


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a threshold gives; `specificity_hard_normal` is None without films of that slice.

    `precision` is None where no film is called pneumonia.
    """

    threshold: float
    sensitivity: Estimate
    specificity: Estimate
    specificity_hard_normal: Estimate | None
    precision: Estimate | None
    accuracy: Estimate


def operating_points(
    scored: Scored, thresholds: Sequence[float], *, seed: int = 0
) -> tuple[OperatingPoint, ...]:
    """What each of `thresholds` gives, with the intervals of `evaluate`."""
    labels = scored.labels.astype(bool)
    weights = _weights(scored.groups, seed)
    hard = scored.slices.get("hard_normal", np.zeros_like(labels))

    points = []
    for threshold in thresholds:
        called = scored.scores >= threshold
        points.append(
            OperatingPoint(
                threshold=threshold,
                sensitivity=_share(weights, called, labels),
                specificity=_share(weights, ~called, ~labels),
                specificity_hard_normal=_share(weights, ~called, hard) if hard.any() else None,
                precision=_share(weights, labels, called) if called.any() else None,
                accuracy=_share(weights, called == labels, np.ones_like(labels)),
            )
        )
    return tuple(points)


def share(groups: npt.NDArray[np.int64], part: Mask, whole: Mask, *, seed: int = 0) -> Estimate:
    """Share of the films of `whole` (bool [films]) that are in `part` too (bool [films]); 0 if `whole` is empty.

    `groups`: int64 [films], films of one patient share one.
    """
    return _share(_weights(groups, seed), part, whole)


def auc_difference(scored: Scored, other: Scored, *, seed: int = 0) -> Estimate:
    """AUC of `other` less that of `scored`, on the same films and in the same resamples of them.

    Raises:
        ValueError: the two are not of the same films.
    """
    if not (np.array_equal(scored.labels, other.labels) and np.array_equal(scored.groups, other.groups)):
        raise ValueError("Two areas under the curve are compared on the same films alone.")
    weights = _weights(scored.groups, seed)
    labels = scored.labels.astype(bool)
    (before, _), (after, _) = (_ranking(labels, each.scores, weights) for each in (scored, other))
    return _estimate(after - before)


def sensitivity_bounds(scored: Scored, *, seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """Sensitivity if the threshold were each positive film's own score, from the highest score down.

    Returns:
        Scores (float64 [positives], falling), sensitivity there, and its lower and upper 95 % bound.
    """
    positive = np.flatnonzero(scored.labels == 1)
    order = positive[np.argsort(-scored.scores[positive], kind="stable")]
    weights = resample(scored.groups, seed=seed)[:, order]
    cumulative = np.cumsum(weights, axis=1, dtype=np.float64)
    shares = cumulative / np.maximum(cumulative[:, -1:], 1)
    low, high = np.percentile(shares, (2.5, 97.5), axis=0)
    sensitivity = np.arange(1, len(order) + 1) / len(order)
    # Films of equal score are called together: the last of them tells for all.
    last = np.searchsorted(-scored.scores[order], -scored.scores[order], side="right") - 1
    return scored.scores[order], sensitivity[last], low[last], high[last]


def choose_threshold(scored: Scored, target: float, *, seed: int = 0) -> float:
    """The largest threshold whose sensitivity's lower 95 % bound reaches `target`.

    It is put midway between that score and the next lower one, so that rounding moves no film across it.

    Raises:
        ValueError: no film of pneumonia, or the bound is out of reach at any threshold.
    """
    if not scored.labels.any():
        raise ValueError("A threshold for sensitivity needs films of pneumonia.")
    scores, _, low, _ = sensitivity_bounds(scored, seed=seed)
    reached = np.flatnonzero(low >= target)
    if not len(reached):
        raise ValueError(f"No threshold's sensitivity has a lower bound of {target}.")
    at = scores[reached[0]]
    below = scored.scores[scored.scores < at]
    return float((at + below.max()) / 2) if len(below) else float(at / 2)


def reliability(
    labels: npt.NDArray[np.int64], probabilities: Array, bins: int = 15
) -> tuple[Array, Array, npt.NDArray[np.int64]]:
    """A reliability diagram's bins, of equal film count.

    Returns:
        Mean probability (float64 [bins], rising), share of pneumonia (float64 [bins]) and films (int64 [bins]).
    """
    order = np.argsort(probabilities, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return (
        np.array([probabilities[part].mean() for part in parts]),
        np.array([labels[part].mean() for part in parts]),
        np.array([len(part) for part in parts], np.int64),
    )


def calibration_error(labels: npt.NDArray[np.int64], probabilities: Array, bins: int = 15) -> float:
    """Expected calibration error over bins of equal film count (Nixon et al., 2019, adaptive ECE)."""
    predicted, observed, films = reliability(labels, probabilities, bins)
    return float(np.average(np.abs(observed - predicted), weights=films))


def brier_score(labels: npt.NDArray[np.int64], probabilities: Array) -> float:
    """Mean squared distance of probability and label."""
    return float(np.mean((probabilities - labels) ** 2))


def _weights(groups: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.float32]:
    """Row 0: the films as they are; then those of `resample`. Float32, [RESAMPLES + 1, films]."""
    return np.concatenate([np.ones((1, len(groups)), np.float32), resample(groups, seed=seed)])


def _share(weights: npt.NDArray[np.float32], part: Mask, whole: Mask) -> Estimate:
    sums = weights @ np.stack([part & whole, whole], axis=1).astype(np.float32)
    return _estimate(_ratio(*sums.astype(np.float64).T))


def _ratio(part: Array, whole: Array) -> Array:
    ratio: Array = np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
    return ratio


def _estimate(values: Array) -> Estimate:
    """`values`: the figure itself, then that of every resample in which it is defined (NaN elsewhere)."""
    drawn = values[1:][np.isfinite(values[1:])]
    value = float(values[0]) if np.isfinite(values[0]) else 0.0
    low, high = np.percentile(drawn, (2.5, 97.5)) if len(drawn) else (value, value)
    return Estimate(value=value, low=float(low), high=float(high))


def _ranking(
    labels: npt.NDArray[np.bool_], scores: Array, weights: npt.NDArray[np.float32]
) -> tuple[Array, Array]:
    """Area under the ROC curve and average precision in each row of `weights`."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    rows = weights[:, order].astype(np.float64)
    tp = np.cumsum(rows * labels[order], axis=1)[:, ends]
    fp = np.cumsum(rows * ~labels[order], axis=1)[:, ends]
    start = np.zeros((len(rows), 1))
    tp, fp = np.hstack([start, tp]), np.hstack([start, fp])
    positives, negatives = tp[:, -1], fp[:, -1]
    area = np.sum(np.diff(fp, axis=1) * (tp[:, 1:] + tp[:, :-1]) / 2, axis=1)
    precision = _ratio(tp[:, 1:], tp[:, 1:] + fp[:, 1:])
    gained = np.diff(tp, axis=1)
    average = np.nansum(gained * precision, axis=1)
    return _ratio(area, positives * negatives), _ratio(average, positives)
