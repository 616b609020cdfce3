from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from training.architectures import build
from training.calibrate import (
    POOL,
    FeatureSpace,
    Scaling,
    describe_calibration,
    describe_exposure,
    describe_novelty,
    describe_threshold,
    describe_uncertainty,
    fit_scaling,
    middle_layer,
    novelty_features,
    pool_halves,
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

    space = FeatureSpace.fit(home(2000), "middle", rank=12)
    assert space.novelty(home(2000)).mean() == pytest.approx(1, rel=0.1)
    outside = home(200) + 3 * random.normal(size=(200, 40)).astype(np.float32)
    limit = describe_novelty(space.novelty(home(1000)), space)
    assert (space.novelty(outside) > limit.limit).mean() > 0.95
    assert limit.share_of_films == pytest.approx(0.01, abs=0.005)
    assert "layer middle, of rank 12" in limit.method

    space.save(tmp_path / "novelty.npz")
    again = FeatureSpace.load(tmp_path / "novelty.npz")
    assert again.layer == "middle"
    assert np.array_equal(again.novelty(outside), space.novelty(outside))


def test_features_that_never_change_give_no_division_by_zero() -> None:
    alike = np.full((10, 4), 3.0, np.float32)
    space = FeatureSpace.fit(alike, POOL)
    assert np.allclose(space.novelty(alike), 0)
    assert (space.novelty(alike + 1) > 1).all()


def test_a_direction_of_full_rank_is_the_mahalanobis_distance() -> None:
    random = np.random.default_rng(1)
    features = (random.normal(size=(500, 6)) @ random.normal(size=(6, 6))).astype(np.float32)
    space = FeatureSpace.fit(features, POOL, rank=5, floor=0)
    centred = features - features.mean(axis=0)
    exact = np.einsum("ij,jk,ik->i", centred, np.linalg.inv(np.cov(features.T)), centred) / 6
    assert space.novelty(features) == pytest.approx(exact, rel=1e-2, abs=1e-3)


def test_a_scaling_gives_the_logits_of_its_probabilities() -> None:
    logits = np.array([-4.0, -0.5, 0.0, 3.0])
    scaling = Scaling(temperature=0.7, bias=0.4)
    assert scaling.logits(scaling(logits)) == pytest.approx(logits)
    assert np.isfinite(scaling.logits(np.array([0.0, 1.0]))).all()


def test_rounding_to_eight_bits_does_not_blow_novelty_up() -> None:
    random = np.random.default_rng(0)
    mixing = random.normal(size=(6, 64))

    def home(count: int) -> np.ndarray:
        features = random.normal(size=(count, 6)) @ mixing + random.normal(0, 1e-3, (count, 64))
        return features.astype(np.float32)

    def rounded(features: np.ndarray) -> np.ndarray:
        step = np.ptp(features) / 255
        levels: np.ndarray = np.round(features / step) * step
        return levels.astype(np.float32)

    trained, held_out = home(1000), home(1000)

    def growth(space: FeatureSpace) -> float:
        exact = describe_novelty(space.novelty(held_out), space).limit
        return describe_novelty(space.novelty(rounded(held_out)), space).limit / exact

    assert growth(FeatureSpace.fit(trained, POOL, rank=6)) < 1.5
    assert growth(FeatureSpace.fit(trained, POOL, rank=6, floor=0)) > 10


def test_halves_tell_a_film_from_the_same_upside_down() -> None:
    maps = np.random.default_rng(0).random((2, 7, 5, 3)).astype(np.float32)
    upright, turned = (keras.ops.convert_to_numpy(pool_halves(film)) for film in (maps, maps[:, ::-1, ::-1]))
    assert upright[:, :3] == pytest.approx(maps[:, :4].mean(axis=(1, 2)), rel=1e-5)
    assert upright[:, 3:] == pytest.approx(maps[:, 3:].mean(axis=(1, 2)), rel=1e-5)
    assert turned == pytest.approx(np.roll(upright, 3, axis=1), rel=1e-5)


@pytest.mark.parametrize(
    ("architecture", "size", "side", "features"), [("resnet50", 224, 28, 1024), ("small_resnet", 96, 12, 96)]
)
def test_the_middle_is_the_end_of_a_stage(architecture: str, size: int, side: int, features: int) -> None:
    network = build(architecture, input_size=size)
    name = middle_layer(network)
    assert network.get_layer(name).output.shape[1] == side
    following = network.layers[[layer.name for layer in network.layers].index(name) + 1]
    assert following.output.shape[1] == side / 2
    assert novelty_features(network, name).output.shape == (None, features)


def without_a_middle(size: int | None) -> keras.Model:
    films = keras.Input((size, size, 1))
    maps = layers.Conv2D(6, 3, activation="relu")(films)
    return keras.Model(films, layers.Dense(2)(layers.GlobalAveragePooling2D(name=POOL)(maps)))


def test_a_network_without_a_middle_is_judged_by_its_pooled_features() -> None:
    network = without_a_middle(32)
    assert middle_layer(network) == POOL
    assert novelty_features(network, POOL).output.shape == (None, 6)
    features = np.random.default_rng(0).random((20, 6)).astype(np.float32)
    assert "pooled last feature maps" in FeatureSpace.fit(features, POOL).method


def test_the_middle_of_a_network_of_any_size_cannot_be_told() -> None:
    with pytest.raises(ValueError, match="no fixed input size"):
        middle_layer(without_a_middle(None))


def test_exposure_limits_hold_nearly_all_training_films(films: Dataset) -> None:
    limits = describe_exposure(films)
    means = films.pixels.mean(axis=(1, 2))
    assert means.min() <= limits.brightness_low <= limits.brightness_high <= means.max()
    assert limits.contrast_low > 0
