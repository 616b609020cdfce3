from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as reference

from training.metrics import (
    Scored,
    auc_difference,
    brier_score,
    calibration_error,
    choose_threshold,
    evaluate,
    operating_points,
    resample,
    sensitivity_bounds,
    share,
)


def scored(seed: int = 0, count: int = 600, *, gap: float = 2.0, per_patient: int = 1) -> Scored:
    random = np.random.default_rng(seed)
    labels = (random.random(count) < 0.7).astype(np.int64)
    logits = gap * (2 * labels - 1) + random.normal(size=count)
    scores = np.round(1 / (1 + np.exp(-logits)), 2)  # rounded, so that there are ties
    viral = (labels == 1) & (random.random(count) < 0.4)
    return Scored(labels, scores, np.arange(count) // per_patient, {"viral": viral})


def test_every_figure_is_what_scikit_learn_says() -> None:
    films = scored()
    found = evaluate(films, 0.4)
    called = films.scores >= 0.4
    assert found.accuracy.value == pytest.approx(reference.accuracy_score(films.labels, called))
    assert found.sensitivity.value == pytest.approx(reference.recall_score(films.labels, called))
    assert found.specificity.value == pytest.approx(reference.recall_score(films.labels, called, pos_label=0))
    assert found.precision.value == pytest.approx(reference.precision_score(films.labels, called))
    assert found.f1.value == pytest.approx(reference.f1_score(films.labels, called))
    assert found.auc.value == pytest.approx(reference.roc_auc_score(films.labels, films.scores))
    assert found.average_precision.value == pytest.approx(
        reference.average_precision_score(films.labels, films.scores)
    )
    matrix = reference.confusion_matrix(films.labels, called).ravel().tolist()
    assert matrix == [
        found.true_negatives,
        found.false_positives,
        found.false_negatives,
        found.true_positives,
    ]
    viral = films.slices["viral"]
    assert found.slices["sensitivity_viral"].value == pytest.approx(called[viral].mean())


def test_hard_films_are_judged_by_themselves() -> None:
    plain = scored()
    random = np.random.default_rng(4)
    hard = random.random(len(plain.labels)) < 0.3
    hard_normal, hard_pneumonia = hard & (plain.labels == 0), hard & (plain.labels == 1)
    films = replace(plain, slices={"hard_normal": hard_normal, "hard_pneumonia": hard_pneumonia})
    found = evaluate(films, 0.4).slices
    assert found["specificity_hard_normal"].value == pytest.approx((films.scores[hard_normal] < 0.4).mean())
    assert found["sensitivity_hard_pneumonia"].value == pytest.approx(
        (films.scores[hard_pneumonia] >= 0.4).mean()
    )
    for name, kept in (("auc_against_style", hard), ("auc_hard_normal", hard_normal | (films.labels == 1))):
        auc = reference.roc_auc_score(films.labels[kept], films.scores[kept])
        assert found[name].value == pytest.approx(auc)
        assert found[name].low < auc < found[name].high


def test_intervals_hold_the_value_and_widen_when_films_share_patients() -> None:
    alone, shared = scored(), scored(per_patient=20)
    for films in (alone, shared):
        auc = evaluate(films, 0.5).auc
        assert auc.low < auc.value < auc.high
    # Twenty films a patient, all alike: the same films tell much less.
    random = np.random.default_rng(1)
    patients = scored(seed=2, count=60)
    repeated = Scored(
        np.repeat(patients.labels, 20),
        np.repeat(patients.scores, 20),
        np.repeat(np.arange(60), 20),
    )
    blind = Scored(repeated.labels, repeated.scores, random.permutation(1200))
    width = {
        name: evaluate(films, 0.5).sensitivity.high - evaluate(films, 0.5).sensitivity.low
        for name, films in (("by patient", repeated), ("by film", blind))
    }
    assert width["by patient"] > 3 * width["by film"]


def test_the_interval_of_a_share_is_about_the_binomial_one() -> None:
    found = evaluate(scored(count=2000), 0.5).sensitivity
    positives = int(scored(count=2000).labels.sum())
    half = 1.96 * np.sqrt(found.value * (1 - found.value) / positives)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.15)


def test_films_of_one_patient_are_drawn_together() -> None:
    weights = resample(np.array([5, 5, 9, 7, 9]), count=50)
    assert np.array_equal(weights[:, 0], weights[:, 1])
    assert np.array_equal(weights[:, 2], weights[:, 4])
    assert not np.array_equal(weights[:, 0], weights[:, 3])


def test_the_threshold_is_the_largest_whose_lower_bound_reaches_the_target() -> None:
    films = scored()
    threshold = choose_threshold(films, 0.95)
    at = evaluate(films, threshold).sensitivity
    assert at.low >= 0.95
    higher = np.min(films.scores[films.scores > threshold])
    next_higher = np.min(films.scores[films.scores > higher])
    assert evaluate(films, next_higher).sensitivity.low < 0.95


def test_the_threshold_lies_between_two_scores_so_that_rounding_moves_no_film() -> None:
    films = scored()
    assert np.abs(films.scores - choose_threshold(films, 0.95)).min() > 1e-3


def test_the_sweep_agrees_with_the_figures_at_each_threshold() -> None:
    films = scored(count=120)
    scores, sensitivity, low, high = sensitivity_bounds(films)
    for place in (0, 20, 60):
        found = evaluate(films, scores[place]).sensitivity
        assert (found.value, found.low, found.high) == pytest.approx(
            (sensitivity[place], low[place], high[place])
        )


def test_an_operating_point_is_what_the_figures_say_at_its_threshold() -> None:
    plain = scored(count=200)
    hard = (plain.labels == 0) & (np.arange(200) % 3 == 0)
    films = replace(plain, slices={"hard_normal": hard})
    for point in operating_points(films, (0.2, 0.8)):
        found = evaluate(films, point.threshold)
        for name in ("sensitivity", "specificity", "precision", "accuracy"):
            ours, theirs = getattr(point, name), getattr(found, name)
            assert ours.value == pytest.approx(theirs.value)
            assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
        assert point.specificity_hard_normal == found.slices["specificity_hard_normal"]
    assert operating_points(plain, (0.5,))[0].specificity_hard_normal is None
    nothing = replace(films, slices={"hard_normal": np.zeros(len(films.labels), bool)})
    (beyond,) = operating_points(nothing, (films.scores.max() + 1,))
    assert (beyond.precision, beyond.specificity_hard_normal) == (None, None)


def test_one_class_alone_has_no_figures() -> None:
    films = scored()
    with pytest.raises(ValueError, match="both classes"):
        evaluate(Scored(np.ones_like(films.labels), films.scores, films.groups), 0.5)


def test_calibration_error_and_brier_score_know_a_calibrated_model() -> None:
    random = np.random.default_rng(0)
    probabilities = random.random(20_000)
    labels = (random.random(20_000) < probabilities).astype(np.int64)
    assert calibration_error(labels, probabilities) < 0.02
    assert calibration_error(labels, probabilities**3) > 0.15
    assert brier_score(labels, probabilities) == pytest.approx(
        reference.brier_score_loss(labels, probabilities)
    )


def test_a_share_has_the_interval_that_evaluate_gives() -> None:
    films = scored()
    called, positive = films.scores >= 0.4, films.labels == 1
    assert share(films.groups, called, positive) == evaluate(films, 0.4).sensitivity
    assert share(films.groups, called, np.zeros_like(called)).value == 0


def test_two_areas_are_compared_in_the_same_resamples() -> None:
    films, others = scored(gap=1.0), scored(gap=1.2)
    better = replace(films, scores=np.where(films.labels == 1, films.scores + 0.1, films.scores))
    gained = auc_difference(films, better)
    assert gained.value == pytest.approx(evaluate(better, 0.4).auc.value - evaluate(films, 0.4).auc.value)
    assert 0 < gained.low < gained.value < gained.high
    apart = evaluate(films, 0.4).auc
    assert gained.high - gained.low < apart.high - apart.low
    with pytest.raises(ValueError, match="same films"):
        auc_difference(films, replace(others, groups=films.groups + 1))
