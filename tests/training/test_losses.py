import keras
import numpy as np
import pytest

from training.dataset import Dataset
from training.losses import balanced_class_weights, head_loss, mix, style_weights, targets_of
from training.slices import mark


def plain(targets: object, logits: object, **options: object) -> np.ndarray:
    how = {"label_smoothing": 0.0, "kind_weight": 0.0, "class_weights": (1.0, 1.0)} | options
    loss = head_loss(**how)  # type: ignore[arg-type]
    return np.asarray(
        keras.ops.convert_to_numpy(loss(np.array(targets, np.float32), np.array(logits, np.float32)))
    )


def test_targets_ask_for_the_kind_of_pneumonia_films_alone(films: Dataset) -> None:
    targets = targets_of(films)
    assert np.array_equal(targets[:, 0], films.labels)
    assert np.array_equal(targets[:, 1] == 1, films.kinds == "bacterial")
    assert np.array_equal(targets[:, 2] == 1, films.labels == 1)


def test_the_loss_is_binary_cross_entropy() -> None:
    logits = [[2.0, 0.0], [-1.0, 0.0]]
    expected = [np.log1p(np.exp(-2.0)), np.log1p(np.exp(-1.0))]
    assert plain([[1, 0, 0], [0, 0, 0]], logits) == pytest.approx(expected)


def test_the_focal_loss_is_keras_own() -> None:
    labels, logits = [[1, 0, 0], [0, 0, 0], [1, 0, 0]], [[2.0, 0.0], [-1.0, 0.0], [-0.5, 0.0]]
    keras_own = keras.losses.BinaryFocalCrossentropy(gamma=2.0, from_logits=True, reduction=None)
    expected = keras_own(np.array(labels, np.float32)[:, :1], np.array(logits, np.float32)[:, :1])
    assert plain(labels, logits, focal_gamma=2.0) == pytest.approx(
        keras.ops.convert_to_numpy(expected), rel=1e-4
    )


def test_the_focal_loss_leaves_easy_films_aside_and_counts_the_kind_alike() -> None:
    easy, hard = plain([[1, 1, 1], [1, 1, 1]], [[4.0, 4.0], [-1.0, -1.0]], kind_weight=0.5, focal_gamma=2.0)
    easy_before, hard_before = plain([[1, 1, 1], [1, 1, 1]], [[4.0, 4.0], [-1.0, -1.0]], kind_weight=0.5)
    assert easy / easy_before < 0.01 < 0.4 < hard / hard_before


def test_the_focal_loss_has_a_slope_where_the_answer_is_exactly_right() -> None:
    settled = plain([[1, 0, 0], [0.5, 0, 0]], [[200.0, 0.0], [0.0, 0.0]], focal_gamma=0.5)
    assert np.isfinite(settled).all()


def test_the_kind_counts_only_where_it_is_known() -> None:
    assert plain([[0, 0, 0]], [[0.0, 9.0]], kind_weight=1.0) == pytest.approx([np.log(2)])
    assert plain([[1, 1, 1]], [[0.0, 0.0]], kind_weight=0.5) == pytest.approx([1.5 * np.log(2)])


def test_a_recall_weight_makes_missed_pneumonia_dearer() -> None:
    missed, alarm = plain([[1, 0, 0], [0, 0, 0]], [[-2.0, 0], [2.0, 0]], class_weights=(1.0, 1.5))
    assert missed == pytest.approx(1.5 * alarm)


def test_smoothed_labels_punish_certainty() -> None:
    calm, certain = plain([[1, 0, 0], [1, 0, 0]], [[3.0, 0], [30.0, 0]], label_smoothing=0.1)
    assert certain > calm


def test_views_that_disagree_cost_more_than_views_that_agree() -> None:
    agreeing = [[[1.0, 0.0], [1.0, 0.0]]]
    apart = [[[1.5, 0.0], [0.5, 0.0]]]
    assert plain([[1, 0, 0]], agreeing, consistency=2.0) == pytest.approx(plain([[1, 0, 0]], agreeing[0][:1]))
    each = [plain([[1, 0, 0]], [view])[0] for view in apart[0]]
    assert plain([[1, 0, 0]], apart, consistency=2.0) == pytest.approx([sum(each) / 2 + 2.0 * 1.0])


def test_mixed_films_cost_what_their_shares_cost() -> None:
    targets = np.array([[1, 1, 1], [0, 0, 0], [1, 0, 1]], np.float32)
    films = np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1) * np.ones((3, 4, 4, 1), np.float32)
    weights = np.array([1.0, 2.0, 1.0], np.float32)
    mixed, blended, weighed = mix(films, targets, weights, 0.4, np.random.default_rng(1))
    rng = np.random.default_rng(1)
    share, partner = rng.beta(0.4, 0.4, 3), rng.permutation(3)
    assert not np.array_equal(partner, np.arange(3))
    assert np.allclose(mixed[:, 0, 0, 0], share * np.arange(3) + (1 - share) * partner)
    assert np.allclose(weighed, share * weights + (1 - share) * weights[partner])
    logits = np.array([[0.3, -1.0], [-2.0, 0.4], [1.0, 2.0]], np.float32)
    own = plain(targets, logits, kind_weight=0.5)
    other = plain(targets[partner], logits, kind_weight=0.5)
    assert plain(blended, logits, kind_weight=0.5) == pytest.approx(
        share * own + (1 - share) * other, rel=1e-5
    )


def test_by_style_hard_and_easy_films_weigh_the_same(films: Dataset) -> None:
    marked = mark(films)
    weights = style_weights(marked)
    for label, name in enumerate(("hard_normal", "hard_pneumonia")):
        of_class, hard = marked.labels == label, marked.slices[name]
        assert weights[hard].sum() == pytest.approx(weights[of_class & ~hard].sum())
        assert weights[of_class].mean() == pytest.approx(1)
    with pytest.raises(ValueError, match="slices of style"):
        style_weights(films)


def test_balanced_weights_make_both_classes_weigh_the_same() -> None:
    labels = np.array([0] * 10 + [1] * 30)
    normal, pneumonia = balanced_class_weights(labels)
    assert 10 * normal == pytest.approx(30 * pneumonia)
    assert 10 * normal + 30 * pneumonia == pytest.approx(40)
