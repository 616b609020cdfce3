import keras
import numpy as np
import pytest

from training.dataset import Dataset
from training.losses import balanced_class_weights, head_loss, targets_of


def plain(targets: list[list[float]], logits: list[list[float]], **options: object) -> np.ndarray:
    how = {"label_smoothing": 0.0, "kind_weight": 0.0, "class_weights": (1.0, 1.0)} | options
    loss = head_loss(**how)  # type: ignore[arg-type]
    return np.asarray(
        keras.ops.convert_to_numpy(loss(np.array(targets, np.float32), np.array(logits, np.float32)))
    )


def test_targets_ask_for_the_kind_of_pneumonia_films_alone(films: Dataset) -> None:
    targets = targets_of(films)
    assert np.array_equal(targets[:, 0], films.labels)
    assert np.array_equal(targets[:, 1] == -1, films.labels == 0)
    assert np.array_equal(targets[:, 1] == 1, films.kinds == "bacterial")


def test_the_loss_is_binary_cross_entropy() -> None:
    logits = [[2.0, 0.0], [-1.0, 0.0]]
    expected = [np.log1p(np.exp(-2.0)), np.log1p(np.exp(-1.0))]
    assert plain([[1, -1], [0, -1]], logits) == pytest.approx(expected)


def test_the_kind_counts_only_where_it_is_known() -> None:
    assert plain([[0, -1]], [[0.0, 9.0]], kind_weight=1.0) == pytest.approx([np.log(2)])
    assert plain([[1, 1]], [[0.0, 0.0]], kind_weight=0.5) == pytest.approx([1.5 * np.log(2)])


def test_a_recall_weight_makes_missed_pneumonia_dearer() -> None:
    missed, alarm = plain([[1, -1], [0, -1]], [[-2.0, 0], [2.0, 0]], class_weights=(1.0, 1.5))
    assert missed == pytest.approx(1.5 * alarm)


def test_smoothed_labels_punish_certainty() -> None:
    calm, certain = plain([[1, -1], [1, -1]], [[3.0, 0], [30.0, 0]], label_smoothing=0.1)
    assert certain > calm


def test_balanced_weights_make_both_classes_weigh_the_same() -> None:
    labels = np.array([0] * 10 + [1] * 30)
    normal, pneumonia = balanced_class_weights(labels)
    assert 10 * normal == pytest.approx(30 * pneumonia)
    assert 10 * normal + 30 * pneumonia == pytest.approx(40)
