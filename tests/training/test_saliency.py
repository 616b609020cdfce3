"""The checks are tested on films whose evidence is known: a bright square, and a network that sees only that."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import spearmanr

from tests import tiny_model
from training.architectures import ARCHITECTURES, PNEUMONIA, Architecture, build
from training.dataset import Dataset, Film
from training.evaluate import classifier_scores
from training.fit import predict_logits
from training.saliency import (
    ORDERS,
    HeatmapCheck,
    SaliencyError,
    cascade,
    check,
    coarsen,
    correlation,
    draw_check,
    enlarge,
    finer_layer,
    grad_cam,
    heatmaps,
    markdown,
    nearest,
    perturb,
    stages,
)

SIDE, CELL, FILMS = 48, 8, 12
OWN, ANOTHER, CENTRE, RANDOM = ORDERS
Pixels = npt.NDArray[np.uint8]


def films_with_squares(count: int = FILMS, seed: int = 0) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Dark films, each with a bright square on one of the 6 × 6 cells; and the squares' rows and columns."""
    random = np.random.default_rng(seed)
    films = random.integers(20, 60, (count, SIDE, SIDE)).astype(np.uint8)
    cells = np.stack([random.integers(0, 6, count), random.permutation(count) % 6], axis=1)
    for film, (row, column) in zip(films, cells * CELL, strict=True):
        film[row : row + CELL, column : column + CELL] = 230
    return films, cells


def dark_films(count: int = FILMS, seed: int = 1) -> Pixels:
    return np.random.default_rng(seed).integers(20, 60, (count, SIDE, SIDE)).astype(np.uint8)


def _grey(films: Any) -> Any:
    return keras.layers.Rescaling(1 / 255, name="grey")(films)


def _trunk(weights: str | None, inputs: Any) -> Any:
    assert weights is None
    x = keras.layers.Conv2D(6, 4, strides=4, activation="relu", name="first")(inputs)
    return keras.layers.Conv2D(8, 2, strides=2, activation="relu", name="second")(x)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A network of the registry's form that calls a film pneumonia for its bright square, and by that alone."""
    monkeypatch.setitem(ARCHITECTURES, "seeing", Architecture("seeing", _grey, _trunk))
    keras.utils.set_random_seed(0)
    network = build("seeing", input_size=SIDE)
    first, second, logits = (network.get_layer(name) for name in ("first", "second", "logits"))
    random = np.random.default_rng(0)
    kernel = random.normal(0, 0.01, first.kernel.shape)
    kernel[..., :2] = 1 / 16  # means of 4 × 4 pixels: what exceeds 0.4, and the grey level itself
    first.set_weights([kernel, np.array([-0.4, *np.zeros(5)])])
    kernel = random.normal(0, 0.01, second.kernel.shape)
    kernel[..., :2] = 0
    kernel[:, :, 0, 0] = kernel[:, :, 1, 1] = 1
    second.set_weights([kernel, np.zeros(8)])
    kernel = random.normal(0, 0.01, logits.kernel.shape)
    kernel[:2, PNEUMONIA] = 120, -0.5
    logits.set_weights([kernel, np.array([-3.0, 0.5])])
    return network


@pytest.fixture
def dataset() -> Dataset:
    """Films of pneumonia, two a patient, and normal ones."""
    ill, _ = films_with_squares()
    films = [
        Film(Path(f"{label}-{i}.png"), label, "unknown", f"{label}-{i // 2}", f"{label}-{i}")
        for label in (1, 0)
        for i in range(FILMS)
    ]
    return Dataset(tuple(films), np.concatenate([ill, dark_films()]))


def probabilities(network: Any, pixels: Pixels) -> npt.NDArray[np.float64]:
    logits = predict_logits(network, pixels)[:, PNEUMONIA].astype(np.float64)
    return 1 / (1 + np.exp(-logits))


def areas(curves: dict[str, npt.NDArray[np.float64]]) -> dict[str, npt.NDArray[np.float64]]:
    return {order: curve[:, 1:].mean(axis=1) for order, curve in curves.items()}


def test_the_mean_of_a_heat_map_is_the_pneumonia_logit(network: Any) -> None:
    films, _ = films_with_squares()
    maps = heatmaps(network, films)
    assert maps.shape == (FILMS, 6, 6)
    assert maps.dtype == np.float32
    assert maps.mean(axis=(1, 2)) == pytest.approx(predict_logits(network, films)[:, PNEUMONIA], abs=1e-4)


def test_a_heat_map_peaks_on_the_square(network: Any) -> None:
    films, cells = films_with_squares()
    peaks = [np.unravel_index(heatmap.argmax(), heatmap.shape) for heatmap in heatmaps(network, films)]
    assert np.array_equal(peaks, cells)


def run_perturb(network: Any, maps: npt.NDArray[np.float32], films: Pixels) -> Any:
    def score(pixels: Pixels) -> npt.NDArray[np.float64]:
        return probabilities(network, pixels)

    hidden = nearest(films, dark_films())
    return perturb(score, films, maps, np.roll(maps, 1, axis=0), hidden, steps=9, draws=3)


def test_a_true_heat_map_beats_every_other_order(network: Any) -> None:
    films, _ = films_with_squares()
    deletion, insertion = (areas(found) for found in run_perturb(network, heatmaps(network, films), films))
    for order in (ANOTHER, CENTRE, RANDOM):
        assert np.mean(deletion[OWN] < deletion[order]) > 0.8
        assert np.mean(insertion[OWN] > insertion[order]) > 0.8
    assert deletion[OWN].mean() < 0.5 * deletion[RANDOM].mean()
    assert insertion[OWN].mean() > 1.5 * insertion[RANDOM].mean()


def test_a_false_heat_map_loses_to_chance(network: Any) -> None:
    films, _ = films_with_squares()
    deletion, insertion = (areas(found) for found in run_perturb(network, -heatmaps(network, films), films))
    assert np.mean(deletion[OWN] > deletion[RANDOM]) > 0.8
    assert np.mean(insertion[OWN] < insertion[RANDOM]) > 0.8


def test_every_order_leads_from_the_film_to_what_hides_it(network: Any) -> None:
    films, _ = films_with_squares()
    hidden = nearest(films, dark_films())
    deletion, insertion = run_perturb(network, heatmaps(network, films), films)
    assert tuple(deletion) == tuple(insertion) == ORDERS
    for order in ORDERS:
        assert deletion[order].shape == (FILMS, 10)
        assert deletion[order][:, 0] == pytest.approx(probabilities(network, films))
        assert deletion[order][:, -1] == pytest.approx(probabilities(network, hidden))
        assert insertion[order][:, 0] == pytest.approx(deletion[order][:, -1])
        assert insertion[order][:, -1] == pytest.approx(deletion[order][:, 0])


def test_the_highest_places_are_hidden_first_and_shown_first() -> None:
    film, hidden = np.full((1, SIDE, SIDE), 200, np.uint8), np.zeros((1, SIDE, SIDE), np.uint8)
    left = np.tile(np.arange(6, 0, -1, dtype=np.float32), (6, 1))[None]

    def brightness_of_the_left_half(pixels: Pixels) -> npt.NDArray[np.float64]:
        return np.asarray(pixels[:, :, : SIDE // 2].mean(axis=(1, 2)) / 200, np.float64)

    deletion, insertion = perturb(brightness_of_the_left_half, film, left, -left, hidden, steps=4, draws=2)
    assert deletion[OWN][0] == pytest.approx([1, 0.5, 0, 0, 0])
    assert insertion[OWN][0] == pytest.approx([0, 0.5, 1, 1, 1])
    assert deletion[ANOTHER][0] == pytest.approx([1, 1, 1, 0.5, 0])
    assert insertion[ANOTHER][0] == pytest.approx([0, 0, 0, 0.5, 1])


def test_the_centre_goes_first_in_its_order() -> None:
    film, hidden = np.full((1, SIDE, SIDE), 200, np.uint8), np.zeros((1, SIDE, SIDE), np.uint8)
    flat = np.zeros((1, 6, 6), np.float32)
    middle = slice(SIDE // 2 - 4, SIDE // 2 + 4)

    def brightness_of_the_centre(pixels: Pixels) -> npt.NDArray[np.float64]:
        return np.asarray(pixels[:, middle, middle].mean(axis=(1, 2)) / 200, np.float64)

    deletion, insertion = perturb(brightness_of_the_centre, film, flat, flat, hidden, steps=4, draws=2)
    assert deletion[CENTRE][0] == pytest.approx([1, 0, 0, 0, 0])
    assert insertion[CENTRE][0] == pytest.approx([0, 1, 1, 1, 1])


def test_a_film_is_hidden_by_the_normal_film_most_like_it() -> None:
    among = dark_films(5)
    films = np.clip(among[[3, 0, 4]].astype(int) + 2, 0, 255).astype(np.uint8)
    assert np.array_equal(nearest(films, among), among[[3, 0, 4]])


def test_a_heat_map_is_enlarged_cell_by_cell_and_back() -> None:
    heatmap = np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32)
    large = enlarge(heatmap, 6 * 31)
    assert large.shape == (186, 186)
    assert large[15::31, 15::31] == pytest.approx(heatmap, abs=1e-5)
    blocks = np.kron(heatmap, np.ones((3, 3), np.float32))
    assert coarsen(blocks[None], (6, 6))[0] == pytest.approx(heatmap, abs=1e-5)


def test_an_onnx_files_heat_maps_are_checked_by_the_services_own_engine(tmp_path: Path) -> None:
    from app.engine.classifier import Classifier

    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_model.build())
    classifier = Classifier.open_file(path, threads=1)
    films = np.repeat(np.arange(20, 240, 55, dtype=np.uint8), 1024).reshape(-1, 32, 32).copy()
    films[:, 8:16, 16:24] = 255
    maps = classifier.run(films).heatmap
    assert maps is not None
    deletion, _ = perturb(
        lambda pixels: classifier_scores(classifier, pixels),
        films,
        maps,
        -maps,
        np.zeros_like(films),
        steps=5,
        draws=2,
    )
    found = areas(deletion)
    assert np.all(found[OWN] <= found[ANOTHER])
    assert found[OWN].mean() < found[ANOTHER].mean()


def test_stages_run_from_the_head_down_by_resolution(network: Any) -> None:
    assert stages(network) == {"logits": ["logits"], "6 × 6": ["second"], "12 × 12": ["first"]}
    assert list(stages(build("resnet50", input_size=64))) == [
        "logits", "2 × 2", "4 × 4", "8 × 8", "16 × 16", "32 × 32",
    ]  # fmt: skip


def test_random_weights_take_the_heat_map_apart_and_leave_the_network_whole(network: Any) -> None:
    films, _ = films_with_squares()
    before = [weights.copy() for weights in network.get_weights()]
    maps = heatmaps(network, films)
    found = cascade(network, films, maps, draws=6)
    assert list(found) == ["logits", "6 × 6", "12 × 12"]
    for correlations in found.values():
        assert correlations.shape == (6, FILMS)
        assert abs(correlations.mean()) < 0.5
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))
    assert np.array_equal(maps, heatmaps(network, films))


def test_a_heat_map_that_the_weights_have_no_part_in_fails_the_sanity_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The trunk only averages, and the head starts at one: drawn anew, it shows the same picture."""

    def averages(weights: str | None, inputs: Any) -> Any:
        return keras.layers.AveragePooling2D(CELL, name="mean")(inputs)

    monkeypatch.setitem(ARCHITECTURES, "blind", Architecture("blind", _grey, averages))
    network = build("blind", input_size=SIDE)
    network.get_layer("logits").kernel_initializer = keras.initializers.Constant(1)
    network.get_layer("logits").set_weights([np.full((1, 2), 7.0), np.zeros(2)])
    films, _ = films_with_squares()
    found = cascade(network, films, heatmaps(network, films), draws=2)
    assert found["logits"] == pytest.approx(1, abs=1e-3)


def test_the_same_seed_draws_the_same_weights(network: Any) -> None:
    films, _ = films_with_squares()
    maps = heatmaps(network, films)
    once, again, otherwise = (cascade(network, films, maps, draws=1, seed=seed) for seed in (3, 3, 4))
    assert all(np.array_equal(once[name], again[name]) for name in once)
    assert not np.array_equal(once["12 × 12"], otherwise["12 × 12"])


def test_grad_cam_by_gradients_is_the_positive_part_of_the_heat_map(network: Any) -> None:
    films, _ = films_with_squares()
    bias = network.get_layer("logits").get_weights()[1][PNEUMONIA]
    evidence = heatmaps(network, films) - bias
    assert evidence.min() < 0 < evidence.max()
    assert grad_cam(network, films) == pytest.approx(np.maximum(evidence, 0) / 36, abs=1e-6)


def test_grad_cam_works_on_a_frozen_network(network: Any) -> None:
    films, _ = films_with_squares(2)
    thawed = grad_cam(network, films)
    network.trainable = False
    frozen = keras.models.clone_model(network)  # whose variables were never to be trained
    frozen.set_weights(network.get_weights())
    assert grad_cam(frozen, films) == pytest.approx(thawed)


def test_grad_cam_of_the_finer_feature_map_finds_the_square_too(network: Any) -> None:
    assert finer_layer(network) == "first"
    films, cells = films_with_squares()
    finer = grad_cam(network, films, finer_layer(network))
    assert finer.shape == (FILMS, 12, 12)
    peaks = [np.unravel_index(one.argmax(), one.shape) for one in coarsen(finer, (6, 6))]
    assert np.array_equal(peaks, cells)


def test_without_tensorflow_grad_cam_says_what_it_needs(
    network: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(SaliencyError, match="KERAS_BACKEND=tensorflow"):
        grad_cam(network, dataset.pixels)
    with pytest.raises(SaliencyError, match="Keras runs on torch"):
        check(network, dataset, lambda pixels: np.zeros(len(pixels)), 0.5)


def test_correlation_of_ranks_is_spearmans() -> None:
    from scipy.stats import rankdata

    random = np.random.default_rng(0)
    some, others = random.normal(size=(2, 3, 7, 7)).round(1)
    ranks = (rankdata(maps.reshape(3, -1), axis=1) for maps in (some, others))
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(some, others, strict=True)]
    assert correlation(*ranks) == pytest.approx(expected)
    assert correlation(some, np.ones_like(some)) == pytest.approx(0)


@pytest.fixture
def found(network: Any, dataset: Dataset) -> HeatmapCheck:
    return check(network, dataset, lambda pixels: probabilities(network, pixels), 0.5, steps=9, draws=3)


def test_the_whole_check_speaks_for_a_true_heat_map(found: HeatmapCheck) -> None:
    assert (found.films, found.patients) == (FILMS, FILMS // 2)
    assert list(found.deletion) == list(found.insertion) == list(ORDERS)
    for curves in (found.deletion, found.insertion):
        assert curves[OWN].gain is None
        for order in ORDERS[1:]:
            gain, beaten = curves[order].gain, curves[order].beaten
            assert gain is not None
            assert beaten is not None
            assert gain.low > 0
            assert beaten.value > 0.8
        for curve in curves.values():
            assert len(curve.probability) == 10
            assert curve.area.low <= curve.area.value <= curve.area.high
            assert all(low <= high for low, high in zip(curve.low, curve.high, strict=True))
    assert [step.drawn_anew for step in found.cascade] == ["logits", "6 × 6", "12 × 12"]
    assert all(abs(step.correlation.value) <= step.magnitude.value < 1 for step in found.cascade)
    assert abs(found.between_patients.value) < 0.5
    assert found.grad_cam.value > 0.95
    assert found.grad_cam_difference < 1e-4


def test_the_check_is_seeded_and_leaves_out_what_it_is_told_to(network: Any, dataset: Dataset) -> None:
    advanced: list[int] = []

    def once(seed: int) -> HeatmapCheck:
        return check(
            network,
            dataset,
            lambda pixels: probabilities(network, pixels),
            0.5,
            count=6,
            steps=3,
            draws=2,
            seed=seed,
            advance=lambda: advanced.append(1),
        )

    assert once(0) == once(0) != once(1)
    assert len(advanced) == 18
    assert once(0).films == 6


def test_another_files_heat_maps_are_judged_by_themselves(network: Any, dataset: Dataset) -> None:
    """An upside-down heat map, such as a faulty export might give, is worse than chance and no Grad-CAM."""
    found = check(
        network,
        dataset,
        lambda pixels: probabilities(network, pixels),
        0.5,
        explain=lambda pixels: -heatmaps(network, pixels),
        steps=6,
        draws=3,
    )
    gain = found.deletion[RANDOM].gain
    assert gain is not None
    assert gain.high < 0
    assert found.grad_cam.value < 0
    assert found.grad_cam_difference < 1e-4


def test_films_none_of_which_is_called_pneumonia_cannot_be_checked(network: Any, dataset: Dataset) -> None:
    with pytest.raises(SaliencyError, match="Too few films"):
        check(network, dataset, lambda pixels: np.zeros(len(pixels)), 0.5)
    with pytest.raises(SaliencyError, match="Too few films"):
        check(network, dataset, lambda pixels: np.ones(len(pixels)), 0.5)


def test_the_result_is_json_a_picture_and_a_table(found: HeatmapCheck, tmp_path: Path) -> None:
    assert HeatmapCheck.model_validate_json(found.model_dump_json()) == found
    assert draw_check(tmp_path / "saliency.png", found).stat().st_size > 5000
    page = markdown(found)
    for words in (*ORDERS, "logits", "down to 6 × 6", "another patient's film", "Grad-CAM by gradients"):
        assert words in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.count("|") in (4, 6) for line in tables)
