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
from training.calibrate import POOL, middle_layer

PUBLISHED = {
    "vgg16": (14_714_688, 512),
    "vgg19": (20_024_384, 512),
    "inception_v3": (21_802_784, 2048),
    "resnet50": (23_587_712, 2048),
    "densenet121": (7_037_504, 1024),
    "efficientnetv2b0": (5_919_312, 1280),
    "convnext_tiny": (27_820_128, 768),
}
"""Parameters of the trunk in `keras.applications`, and features before the head."""


@pytest.fixture(scope="module")
def resnet50() -> Any:
    return build("resnet50", input_size=64)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_network_answers_films_with_two_logits(name: str) -> None:
    side = ARCHITECTURES[name].smallest
    network = build(name, input_size=side)
    films = np.random.default_rng(0).integers(0, 256, (2, side, side, 1)).astype(np.float32)
    logits = keras.ops.convert_to_numpy(network(films))
    assert logits.shape == (2, 2)
    assert np.isfinite(logits).all()
    assert [layer.name for layer in network.layers[-3:]] == ["pool", "head_dropout", "logits"]


def test_every_network_with_imagenet_weights_is_compared_with_its_source() -> None:
    assert set(PUBLISHED) == {name for name, network in ARCHITECTURES.items() if network.published}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_published_network_is_its_trunk_and_a_head_of_two_logits(name: str) -> None:
    parameters, features = PUBLISHED[name]
    network = build(name, input_size=ARCHITECTURES[name].smallest)
    assert network.count_params() == parameters + features * 2 + 2


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("vgg16", "vgg16"),
        ("vgg19", "vgg19"),
        ("inception_v3", "inception_v3"),
        ("resnet50", "resnet50"),
        ("densenet121", "densenet"),
    ],
)
def test_films_are_normalised_as_the_imagenet_weights_expect(name: str, module: str) -> None:
    films = np.arange(0, 256, 0.25, dtype=np.float32).reshape(1, 32, 32, 1)
    inputs = keras.Input((32, 32, 1))
    normalised = keras.Model(inputs, ARCHITECTURES[name].normalise(inputs))(films)
    preprocess = getattr(keras.applications, module).preprocess_input
    expected = preprocess(np.repeat(films, 3, axis=-1))
    assert np.allclose(keras.ops.convert_to_numpy(normalised), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "module"), [("efficientnetv2b0", "efficientnet_v2"), ("convnext_tiny", "convnext")]
)
def test_a_network_that_normalises_by_itself_gets_grey_levels(name: str, module: str) -> None:
    inputs = keras.Input((4, 4, 1))
    films = np.arange(0, 256, 16, dtype=np.float32).reshape(1, 4, 4, 1)
    grey = keras.ops.convert_to_numpy(keras.Model(inputs, ARCHITECTURES[name].normalise(inputs))(films))
    three = np.repeat(films, 3, axis=-1)
    assert np.array_equal(grey, getattr(keras.applications, module).preprocess_input(three.copy()))
    assert np.array_equal(grey, three)
    network = build(name, input_size=ARCHITECTURES[name].smallest)
    assert sum(isinstance(layer, keras.layers.Normalization) for layer in network.layers) == 1


def test_caffes_means_are_of_blue_green_and_red() -> None:
    assert CAFFE_MEANS_BGR[0] < CAFFE_MEANS_BGR[1] < CAFFE_MEANS_BGR[2]


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_films_too_small_are_a_clear_error(name: str) -> None:
    smallest = ARCHITECTURES[name].smallest
    with pytest.raises(ValueError, match=f"{name} takes films from {smallest} px on, not {smallest - 1}"):
        build(name, input_size=smallest - 1)


@pytest.mark.parametrize("name", ["cnn", "cnn5"])
def test_a_network_that_flattens_its_maps_has_one_size(name: str) -> None:
    with pytest.raises(ValueError, match="needs an input size"):
        build(name)
    with pytest.raises(ValueError, match=r"learns at one size only.*\[64, 112\]"):
        ARCHITECTURES[name].check_sizes({112, 64})
    ARCHITECTURES[name].check_sizes({112})


def test_a_network_that_pools_its_maps_may_have_several_sizes() -> None:
    ARCHITECTURES["resnet50"].check_sizes({32, 64, 224})


@pytest.mark.parametrize("name", ["cnn", "cnn5", "small_resnet"])
def test_imagenet_weights_that_nobody_published_are_a_clear_error(name: str) -> None:
    with pytest.raises(WeightsError, match=f"{name} has no ImageNet weights"):
        build(name, input_size=32, weights="imagenet")


def test_the_plain_network_is_that_of_the_documents() -> None:
    network = build("cnn", input_size=64)
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [32, 64, 128]
    assert network.get_layer(POOL).output.shape == (None, 512)
    middle = network.get_layer(middle_layer(network))
    assert middle.output.shape == (None, 32, 32, 64)


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
