from pathlib import Path

import numpy as np
import pytest

from training.calibrate import (
    FeatureSpace,
    describe_calibration,
    describe_exposure,
    describe_novelty,
    describe_threshold,
    describe_uncertainty,
    fit_scaling,
    sigmoid,
)
from training.dataset import Dataset
from training.metrics import Scored, calibration_error


def overconfident(count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    true = random.normal(1, 2, count)
    labels = (random.random(count) < sigmoid(true)).astype(np.int64)
    return 3 * true - 1.5, labels  # three times too sure, and shifted


def as_scored(scores: np.ndarray, labels: np.ndarray) -> Scored:
    return Scored(labels, scores, np.arange(len(labels)))


def test_temperature_and_bias_undo_overconfidence() -> None:
    logits, labels = overconfident()
    scaling = fit_scaling(logits, labels)
    assert scaling.temperature == pytest.approx(3, rel=0.1)
    assert scaling.bias == pytest.approx(1.5, abs=0.3)
    assert calibration_error(labels, scaling(logits)) < 0.02 < calibration_error(labels, sigmoid(logits))


def test_scaling_does_not_change_the_order_of_films() -> None:
    logits, labels = overconfident(200)
    assert np.array_equal(np.argsort(fit_scaling(logits, labels)(logits)), np.argsort(logits))


def test_cleanly_parted_films_keep_a_finite_temperature() -> None:
    logits = np.array([-3.0, -2.0, 2.0, 3.0] * 20)
    scaling = fit_scaling(logits, (logits > 0).astype(np.int64))
    assert 0.05 <= scaling.temperature <= 20
    assert np.all((scaling(logits) > 0) & (scaling(logits) < 1))


def test_the_calibration_error_is_of_films_it_was_not_fitted_on() -> None:
    logits, labels = overconfident(300)
    scaling = fit_scaling(logits, labels)
    described = describe_calibration(logits, as_scored(scaling(logits), labels), scaling)
    assert described.prevalence == pytest.approx(labels.mean())
    fitted_on = np.mean((scaling(logits) - labels) ** 2)
    assert described.brier_score is not None
    assert described.brier_score > fitted_on


def test_the_threshold_says_what_it_gives() -> None:
    logits, labels = overconfident()
    threshold = describe_threshold(as_scored(sigmoid(logits / 3), labels))
    assert threshold.sensitivity is not None
    assert threshold.sensitivity.low >= 0.95
    assert "0.95" in threshold.rule


def test_the_band_covers_each_class_as_stated() -> None:
    logits, labels = overconfident(20_000)
    probabilities = sigmoid(logits)
    held_out, new = slice(0, 10_000), slice(10_000, None)
    band = describe_uncertainty(as_scored(probabilities[held_out], labels[held_out]))
    scores, truth = probabilities[new], labels[new]
    assert np.mean(scores[truth == 1] < band.low) <= 0.015
    assert np.mean(scores[truth == 0] > band.high) <= 0.015
    inside = (probabilities[held_out] >= band.low) & (probabilities[held_out] <= band.high)
    assert band.share_of_films == pytest.approx(inside.mean())


def test_too_few_films_rule_nothing_out() -> None:
    band = describe_uncertainty(as_scored(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1])))
    assert (band.low, band.high) == (0.0, 1.0)


def test_novelty_is_one_on_average_at_home_and_larger_outside(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    mixing = random.normal(size=(12, 40))

    def home(count: int) -> np.ndarray:
        features = random.normal(size=(count, 12)) @ mixing + random.normal(0, 0.3, (count, 40))
        return features.astype(np.float32)

    space = FeatureSpace.fit(home(2000), rank=12)
    assert space.novelty(home(2000)).mean() == pytest.approx(1, rel=0.1)
    outside = home(200) + 3 * random.normal(size=(200, 40)).astype(np.float32)
    limit = describe_novelty(space.novelty(home(1000)))
    assert (space.novelty(outside) > limit.limit).mean() > 0.95
    assert limit.share_of_films == pytest.approx(0.01, abs=0.005)

    space.save(tmp_path / "novelty.npz")
    again = FeatureSpace.load(tmp_path / "novelty.npz")
    assert np.array_equal(again.novelty(outside), space.novelty(outside))


def test_a_direction_of_full_rank_is_the_mahalanobis_distance() -> None:
    random = np.random.default_rng(1)
    features = (random.normal(size=(500, 6)) @ random.normal(size=(6, 6))).astype(np.float32)
    space = FeatureSpace.fit(features, rank=5)
    centred = features - features.mean(axis=0)
    exact = np.einsum("ij,jk,ik->i", centred, np.linalg.inv(np.cov(features.T)), centred) / 6
    assert space.novelty(features) == pytest.approx(exact, rel=1e-2, abs=1e-3)


def test_exposure_limits_hold_nearly_all_training_films(films: Dataset) -> None:
    limits = describe_exposure(films)
    means = films.pixels.mean(axis=(1, 2))
    assert means.min() <= limits.brightness_low <= limits.brightness_high <= means.max()
    assert limits.contrast_low > 0
