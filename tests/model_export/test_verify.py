import copy
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from model_export.convert import to_half, to_onnx
from model_export.deployable import Anatomy, deployable
from model_export.verify import Int8Parity, ParityError, check, compare_int8, probe_films
from tests.model_export.conftest import SIDE
from training.calibrate import FeatureSpace, Scaling, middle_layer, novelty_features
from training.fit import predict_logits
from training.metrics import Scored

SCALING = Scaling(temperature=1.5, bias=0.2)


@pytest.fixture(scope="module")
def space(our_file: Path) -> FeatureSpace:
    network = keras.saving.load_model(our_file, compile=False)
    layer = middle_layer(network)
    features = predict_logits(novelty_features(network, layer), probe_films(SIDE, 60, seed=1))
    return FeatureSpace.fit(features, layer, rank=8)


@pytest.fixture(scope="module")
def single(ours: Anatomy, space: FeatureSpace) -> Any:
    return to_onnx(deployable(ours, SCALING, space=space))


def spoilt(model: Any, factor: float) -> Any:
    """The graph with one convolution's weights multiplied."""
    spoiled = copy.deepcopy(model)
    tensor = next(t for t in spoiled.graph.initializer if len(t.dims) == 4 and t.dims[0] == 2048)
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((values * factor).astype(values.dtype), tensor.name))
    return spoiled


def test_a_faithful_conversion_passes(ours: Anatomy, single: Any, space: FeatureSpace) -> None:
    parity = check(ours, SCALING, single, to_half(single), probe_films(SIDE), space=space)
    assert parity.probability <= 1e-4
    assert parity.heatmap is not None
    assert parity.half <= 5e-3
    assert parity.novelty is not None
    assert 0 < parity.novelty < 0.02


def test_a_graph_that_differs_is_refused(ours: Anatomy, single: Any) -> None:
    with pytest.raises(ParityError, match="Keras and ONNX differ"):
        check(ours, SCALING, spoilt(single, 2.0), single, probe_films(SIDE))


def test_a_half_precision_file_that_moves_probabilities_is_refused(ours: Anatomy, single: Any) -> None:
    with pytest.raises(ParityError, match="Half precision moves"):
        check(ours, SCALING, single, spoilt(single, 3.0), probe_films(SIDE))


def test_a_novelty_that_is_not_the_spaces_is_refused(ours: Anatomy, single: Any, space: FeatureSpace) -> None:
    wider = FeatureSpace(space.mean, space.basis, 1.1 * space.deviations, 1.1 * space.rest, space.layer)
    with pytest.raises(ParityError, match="Novelty differs"):
        check(ours, SCALING, single, single, probe_films(SIDE), space=wider)


def test_a_heat_map_whose_mean_is_not_the_logit_is_refused(ours: Anatomy, single: Any) -> None:
    wrong = copy.deepcopy(single)
    last = next(node for node in wrong.graph.node if "heatmap" in node.output)
    last.output[0] = "heatmap_before"
    wrong.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "shift"))
    wrong.graph.node.append(onnx.helper.make_node("Add", ["heatmap_before", "shift"], ["heatmap"]))
    with pytest.raises(ParityError, match="heat map's mean"):
        check(ours, SCALING, wrong, to_half(single), probe_films(SIDE))


def test_probe_films_are_half_noise_and_half_smooth() -> None:
    films = probe_films(64, count=8)
    assert films.shape == (8, 64, 64)
    roughness = np.abs(np.diff(films.astype(float), axis=2)).mean(axis=(1, 2))
    assert roughness[:4].min() > 3 * roughness[4:].max()


def judged(scores: list[float]) -> Scored:
    labels = np.array([0, 0, 0, 1, 1, 1])
    return Scored(labels, np.array(scores), np.arange(6))


def test_int8_is_shipped_only_with_parity() -> None:
    half = judged([0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    same = compare_int8(half, half, 0.5, 0.5)
    assert same.holds
    assert same.labels_changed == 0
    swapped = compare_int8(half, judged([0.1, 0.2, 0.8, 0.7, 0.8, 0.9]), 0.5, 0.5)
    assert swapped.labels_changed == pytest.approx(1 / 6)
    assert not swapped.holds
    assert Int8Parity(auc=0.990, auc_half=0.9919, labels_changed=0.004).holds
    assert not Int8Parity(auc=0.990, auc_half=0.9921, labels_changed=0.004).holds
    assert not Int8Parity(auc=0.990, auc_half=0.990, labels_changed=0.006).holds
