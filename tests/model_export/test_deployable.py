from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from keras import layers

from model_export.convert import to_half, to_onnx
from model_export.deployable import Anatomy, NotDeployable, deployable, take_apart
from model_export.quantize import to_int8
from model_export.verify import keras_novelty, probe_films, run
from tests.model_export.conftest import SIDE, awake, functional, nested
from training.architectures import build
from training.calibrate import POOL, FeatureSpace, Scaling, middle_layer, novelty_features, sigmoid
from training.fit import predict_logits

SCALING = Scaling(temperature=1.7, bias=0.4)
KIND = Scaling(temperature=1.3, bias=-0.2)
Pixels = npt.NDArray[np.uint8]


def as_network(path: Path, films: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    network = keras.saving.load_model(path, compile=False)
    return np.asarray(keras.ops.convert_to_numpy(network(films.astype(np.float32))), np.float64)


def fitted(network: Any, layer: str | None = None) -> FeatureSpace:
    """A space of the smooth films that the comparison of precisions draws."""
    layer = layer or middle_layer(network)
    chests = probe_films(SIDE, 80, seed=1)[40:]
    return FeatureSpace.fit(predict_logits(novelty_features(network, layer), chests), layer, rank=8)


@pytest.fixture(scope="module")
def space(our_file: Path) -> FeatureSpace:
    return fitted(keras.saving.load_model(our_file, compile=False))


@pytest.fixture(scope="module")
def graph(ours: Anatomy, space: FeatureSpace) -> Any:
    return to_onnx(deployable(ours, SCALING, KIND, space))


def test_the_graph_has_the_contracts_tensors(graph: Any) -> None:
    def described(tensors: Any) -> dict[str, tuple[int, list[object]]]:
        return {
            tensor.name: (
                tensor.type.tensor_type.elem_type,
                [d.dim_param or d.dim_value for d in tensor.type.tensor_type.shape.dim],
            )
            for tensor in tensors
        }

    uint8, float32 = 2, 1
    assert described(graph.graph.input) == {"pixels": (uint8, ["N", SIDE, SIDE])}
    found = described(graph.graph.output)
    assert {name: kind for name, (kind, _) in found.items()} == dict.fromkeys(
        ("probability", "classes", "heatmap", "novelty"), float32
    )
    assert all(shape[0] == "N" for _, shape in found.values())
    assert [len(found[name][1]) for name in ("probability", "classes", "heatmap", "novelty")] == [1, 2, 3, 1]


def test_what_the_graph_says_is_what_the_network_says(graph: Any, our_file: Path, pixels: Pixels) -> None:
    logits = as_network(our_file, pixels[..., None].astype(np.float32))
    outputs = run(graph, pixels)
    pneumonia = logits[:, 0] + SCALING.bias
    assert outputs["probability"] == pytest.approx(sigmoid(pneumonia / SCALING.temperature), abs=1e-4)
    assert outputs["heatmap"].mean(axis=(1, 2)) == pytest.approx(pneumonia, abs=1e-4)
    bacterial = sigmoid((logits[:, 1] + KIND.bias) / KIND.temperature)
    assert outputs["classes"].sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert outputs["classes"][:, 0] == pytest.approx(1 - outputs["probability"], abs=1e-6)
    assert outputs["classes"][:, 1] == pytest.approx(outputs["probability"] * bacterial, abs=1e-4)


def test_novelty_in_the_graph_is_that_of_training(
    graph: Any, our_file: Path, space: FeatureSpace, pixels: Pixels
) -> None:
    network = keras.saving.load_model(our_file, compile=False)
    assert space.layer == "conv3_block4_out"
    expected = space.novelty(predict_logits(novelty_features(network, space.layer), pixels))
    assert run(graph, pixels)["novelty"] == pytest.approx(expected, rel=1e-3)
    assert run(to_half(graph), pixels)["novelty"] == pytest.approx(expected, rel=1e-2)


def test_novelty_of_the_pooled_features_is_that_of_training(
    our_file: Path, ours: Anatomy, pixels: Pixels
) -> None:
    network = keras.saving.load_model(our_file, compile=False)
    space = fitted(network, POOL)
    expected = space.novelty(predict_logits(novelty_features(network, POOL), pixels))
    found = deployable(ours, SCALING, KIND, space).predict_on_batch(pixels)["novelty"]
    assert found == pytest.approx(expected, rel=1e-3)
    assert keras_novelty(ours, space, pixels) == pytest.approx(expected, rel=1e-3)


def test_int8_keeps_the_scale_of_novelty(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    awake(build("small_resnet", input_size=SIDE)).save(tmp_path / "model.keras")
    anatomy = take_apart(tmp_path / "model.keras", None)
    space = fitted(keras.saving.load_model(tmp_path / "model.keras", compile=False))
    single = to_onnx(deployable(anatomy, SCALING, KIND, space))
    chests = probe_films(SIDE, 80, seed=2)[40:]
    in_single, in_int8 = run(single, chests), run(to_int8(single, chests), chests)
    assert np.median(in_int8["novelty"] / in_single["novelty"]) == pytest.approx(1, abs=0.25)
    assert not np.array_equal(in_int8["novelty"], in_single["novelty"])


def test_a_film_gets_the_same_answer_alone_or_in_a_batch(graph: Any, pixels: Pixels) -> None:
    together = run(graph, pixels)["probability"]
    alone = [run(graph, pixels[i : i + 1])["probability"][0] for i in range(len(pixels))]
    assert together == pytest.approx(alone, abs=1e-6)


def test_half_precision_keeps_answers_and_the_readings_precision(graph: Any, pixels: Pixels) -> None:
    half = to_half(graph)
    single, halved = run(graph, pixels), run(half, pixels)
    assert np.abs(single["probability"] - halved["probability"]).max() < 5e-3
    assert all(value.dtype == np.float32 for value in halved.values())
    assert half.ByteSize() < 0.55 * graph.ByteSize()
    float32 = {t.name for t in half.graph.initializer if t.data_type == 1}
    of_reading = {name for node in half.graph.node if "/reading" in node.name for name in node.input}
    assert float32 & of_reading


@pytest.mark.parametrize(
    ("preprocess", "prepare"),
    [
        ("scale01", lambda x: x / 255),
        ("scale11", lambda x: x / 127.5 - 1),
        ("caffe", lambda x: keras.applications.imagenet_utils.preprocess_input(x, mode="caffe")),
        ("torch", lambda x: keras.applications.imagenet_utils.preprocess_input(x, mode="torch")),
    ],
)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_users_network_says_the_same_as_before_its_export(
    tmp_path: Path, pixels: Pixels, preprocess: Any, prepare: Any, suffix: str
) -> None:
    path = tmp_path / f"mine{suffix}"
    functional().save(path)
    anatomy = take_apart(path, preprocess)
    outputs = run(to_onnx(deployable(anatomy, Scaling(temperature=1, bias=0))), pixels)
    rgb = np.repeat(pixels[..., None], 3, axis=-1).astype(np.float32)
    assert outputs["probability"] == pytest.approx(as_network(path, prepare(rgb))[:, 0], abs=1e-5)
    assert set(outputs) == {"probability", "heatmap"}
    logits = outputs["heatmap"].mean(axis=(1, 2)).astype(np.float64)
    assert sigmoid(logits) == pytest.approx(outputs["probability"], abs=1e-5)


def test_a_backbone_nested_in_a_sequential_is_found(tmp_path: Path, pixels: Pixels) -> None:
    nested().save(tmp_path / "mine.keras")
    anatomy = take_apart(tmp_path / "mine.keras", "scale01")
    assert anatomy.spatial
    rgb = np.repeat(pixels[..., None], 3, axis=-1) / 255
    outputs = run(to_onnx(deployable(anatomy, Scaling(temperature=1, bias=0))), pixels)
    assert outputs["probability"] == pytest.approx(as_network(tmp_path / "mine.keras", rgb)[:, 0], abs=1e-5)


def test_what_keras_compiles_by_xla_or_holds_as_constants_is_converted_too(
    tmp_path: Path, pixels: Pixels
) -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.04, 0.05, 0.06])(inputs)
    x = layers.Conv2D(12, 5, strides=4, groups=3, padding="same", activation="gelu")(x)
    x = layers.Conv2D(12, 3, groups=12, dilation_rate=2)(x)
    backbone = keras.Model(inputs, x)
    head = [layers.GlobalAveragePooling2D(), layers.Dense(1, activation="sigmoid")]
    keras.Sequential([keras.Input((SIDE, SIDE, 3)), backbone, *head]).save(tmp_path / "mine.keras")
    graph = to_onnx(
        deployable(take_apart(tmp_path / "mine.keras", "scale01"), Scaling(temperature=1, bias=0))
    )
    rgb = np.repeat(pixels[..., None], 3, axis=-1) / 255
    expected = as_network(tmp_path / "mine.keras", rgb)[:, 0]
    assert [tensor.name for tensor in graph.graph.input] == ["pixels"]
    assert run(graph, pixels)["probability"] == pytest.approx(expected, abs=1e-5)
    assert run(to_half(graph), pixels)["probability"] == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_flattening_network_has_no_heat_map(tmp_path: Path, pixels: Pixels, channels: int) -> None:
    functional(channels=channels, pooled=False).save(tmp_path / "mine.keras")
    anatomy = take_apart(tmp_path / "mine.keras", "scale01")
    assert not anatomy.spatial
    films = np.repeat(pixels[..., None], channels, axis=-1) / 255
    outputs = run(to_onnx(deployable(anatomy, Scaling(temperature=1, bias=0))), pixels)
    assert outputs["probability"] == pytest.approx(as_network(tmp_path / "mine.keras", films)[:, 0], abs=1e-5)
    assert set(outputs) == {"probability"}


@pytest.mark.parametrize(
    ("network", "preprocess", "complaint"),
    [
        (lambda: functional("softmax", 2), "scale01", r"Dense\(1, activation='sigmoid'\)"),
        (lambda: functional("linear"), "scale01", r"Dense\(1, activation='linear'\)"),
        (functional, None, "--preprocess caffe|scale01|scale11|torch"),
        (lambda: functional(channels=2), "scale01", "1 or 3 channels, not 2"),
        (
            lambda: keras.Sequential([keras.Input((9,)), layers.Dense(1, activation="sigmoid")]),
            "scale01",
            "square films",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_refused_with_what_it_should_be(
    tmp_path: Path, network: Any, preprocess: Any, complaint: str
) -> None:
    network().save(tmp_path / "mine.keras")
    with pytest.raises(NotDeployable, match=complaint):
        take_apart(tmp_path / "mine.keras", preprocess)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.keras").write_bytes(b"nothing")
    with pytest.raises(NotDeployable, match="not a Keras model"):
        take_apart(tmp_path / "mine.keras", "caffe")
