from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from training.architectures import (
    ARCHITECTURES,
    CAFFE_MEANS_BGR,
    WeightsError,
    build,
    freeze_all_but_top,
)


@pytest.fixture(scope="module")
def resnet50() -> Any:
    return build("resnet50", input_size=64)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_network_answers_films_with_two_logits(name: str) -> None:
    network = build(name, input_size=64)
    films = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1)).astype(np.float32)
    logits = keras.ops.convert_to_numpy(network(films))
    assert logits.shape == (2, 2)
    assert np.isfinite(logits).all()
    assert [layer.name for layer in network.layers[-3:]] == ["pool", "head_dropout", "logits"]


def test_resnet50_is_the_published_backbone(resnet50: Any) -> None:
    published = keras.applications.ResNet50(include_top=False, weights=None)
    assert resnet50.count_params() == published.count_params() + 2048 * 2 + 2


def test_resnet50_normalises_as_its_imagenet_weights_expect(resnet50: Any) -> None:
    films = np.full((1, 64, 64, 1), 200, np.float32)
    normalised = keras.Model(resnet50.input, resnet50.get_layer("normalise").output)(films)
    expected = keras.applications.resnet50.preprocess_input(np.full((1, 64, 64, 3), 200, np.float32))
    assert np.allclose(keras.ops.convert_to_numpy(normalised), expected, atol=1e-4)
    assert CAFFE_MEANS_BGR[0] < CAFFE_MEANS_BGR[2]


def test_without_a_size_every_batch_may_have_its_own() -> None:
    network = build("resnet50")
    for size in (32, 64):
        assert network(np.zeros((1, size, size, 1), np.float32)).shape == (1, 2)


def test_fine_tuning_leaves_the_top_ten_layers_and_the_head() -> None:
    network = build("resnet50", input_size=64)
    freeze_all_but_top(network, 10)
    trainable = [layer.name for layer in network.layers if layer.trainable]
    backbone = [name for name in trainable if name.startswith("conv")]
    assert len(backbone) == 10
    assert all(name.startswith("conv5_block3") for name in backbone)
    assert trainable[-3:] == ["pool", "head_dropout", "logits"]


def test_weights_travel_through_a_file(resnet50: Any, tmp_path: Path) -> None:
    resnet50.save(tmp_path / "network.keras")
    again = build("resnet50", input_size=64, weights=tmp_path / "network.keras")
    for left, right in zip(resnet50.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(left, right)


@pytest.mark.parametrize("content", [None, b"not weights"])
def test_weights_that_cannot_be_had_are_a_clear_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "network.keras"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"network\.keras"):
        build("resnet50", input_size=64, weights=path)


def test_imagenet_weights_that_cannot_be_downloaded_are_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(keras.applications, "ResNet50", refuse)
    with pytest.raises(WeightsError, match="--weights PATH"):
        build("resnet50", weights="imagenet")


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="resnet50"):
        build("resnet51")
