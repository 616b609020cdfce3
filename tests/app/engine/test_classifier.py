from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from app import imaging
from app.engine.classifier import Classifier
from app.engine.errors import DeviceFailed
from app.engine.finding import Finding
from app.imaging import Doubt, Exposure, Radiograph
from tests import radiographs, tiny_model
from tests.app.live import gated


def flat(level: int, *, contrast: float = 100, doubts: tuple[Doubt, ...] = ()) -> Radiograph:
    """A film of one grey level, said to be well exposed."""
    pixels = np.full((tiny_model.SIZE, tiny_model.SIZE), level, np.uint8)
    return Radiograph(
        pixels, 64, 64, "PNG", 8, Exposure(brightness=max(level, 20), contrast=contrast), doubts
    )


def probability_of(level: float) -> float:
    """What the tiny model makes of a mean grey level."""
    return float(1 / (1 + np.exp(-tiny_model.GAIN * (level / 255 - tiny_model.CENTRE))))


def classify(classifier: Classifier, *films: Radiograph, pad_to: int | None = None) -> list[Finding]:
    outputs = classifier.run(stacked(*films, pad_to=pad_to))
    assert outputs.sound()[: len(films)].all()
    return [
        classifier.finding(outputs.of_film(row), film.exposure, film.doubts) for row, film in enumerate(films)
    ]


def stacked(*films: Radiograph, pad_to: int | None = None) -> npt.NDArray[np.uint8]:
    """The films' pixels, and black ones behind them."""
    black = np.zeros((tiny_model.SIZE, tiny_model.SIZE), np.uint8)
    return np.stack([film.pixels for film in films] + [black] * ((pad_to or len(films)) - len(films)))


@pytest.fixture
def classifier(tiny_folder: Path) -> Classifier:
    return Classifier.open(tiny_folder)


def test_probability_label_and_subtypes_come_from_the_model(classifier: Classifier) -> None:
    bright, dark = classify(classifier, flat(140), flat(110))
    assert bright.probability == pytest.approx(probability_of(140), abs=1e-5)
    assert (bright.label, dark.label) == ("PNEUMONIA", "NORMAL")
    assert bright.subtypes is not None
    assert bright.subtypes.bacterial == pytest.approx(0.75 * bright.probability, abs=1e-5)
    assert bright.subtypes.viral == pytest.approx(0.25 * bright.probability, abs=1e-5)
    assert bright.threshold == 0.4
    assert not bright.threshold_overridden


def test_the_mean_of_the_heat_map_is_the_logit(classifier: Classifier) -> None:
    (finding,) = classify(classifier, imaging.read(radiographs.png(radiographs.draw()), size=tiny_model.SIZE))
    assert finding.heatmap is not None
    assert finding.heatmap.shape == (tiny_model.BLOCKS, tiny_model.BLOCKS)
    logit = np.log(finding.probability / (1 - finding.probability))
    assert finding.heatmap.mean() == pytest.approx(logit, abs=1e-3)


def test_a_film_gets_the_same_finding_in_any_batch_and_place(classifier: Classifier) -> None:
    films = [
        imaging.read(radiographs.png(radiographs.draw(seed=seed)), size=tiny_model.SIZE) for seed in range(8)
    ]
    alone = [classify(classifier, film)[0] for film in films]
    together = classify(classifier, *films)
    backwards = classify(classifier, *films[::-1], pad_to=16)[::-1]
    for one, two, three in zip(alone, together, backwards, strict=True):
        assert one.probability == two.probability == three.probability
        assert one.reasons == two.reasons == three.reasons


def test_an_overriding_threshold_decides_and_is_told(tiny_folder: Path) -> None:
    (finding,) = classify(Classifier.open(tiny_folder, threshold=0.9), flat(140))
    assert finding.probability > 0.4
    assert (finding.label, finding.threshold, finding.threshold_overridden) == ("NORMAL", 0.9, True)


def test_a_probability_at_the_threshold_is_pneumonia(tiny_folder: Path) -> None:
    (finding,) = classify(Classifier.open(tiny_folder), flat(130))
    at = finding.probability
    assert classify(Classifier.open(tiny_folder, threshold=at), flat(130))[0].label == "PNEUMONIA"
    assert classify(Classifier.open(tiny_folder, threshold=at + 1e-6), flat(130))[0].label == "NORMAL"


@pytest.mark.parametrize(
    ("film", "codes"),
    [
        (flat(140), []),
        (flat(127), ["uncertain"]),
        (flat(241), ["novel"]),
        (flat(140, contrast=1), ["exposure"]),
        (flat(252), ["novel", "exposure"]),
        (flat(140, doubts=("age",)), ["age"]),
        (flat(127, doubts=("age", "view")), ["uncertain", "age", "view"]),
    ],
)
def test_review_has_its_reasons(classifier: Classifier, film: Radiograph, codes: list[str]) -> None:
    (finding,) = classify(classifier, film)
    assert [reason.code for reason in finding.reasons] == codes
    assert finding.review is bool(codes)
    assert all(reason.words.endswith(".") for reason in finding.reasons)


def test_what_a_model_does_not_have_is_none(model_folder: Path) -> None:
    card = tiny_model.manifest(novelty=None, uncertainty=None, exposure=None)
    content = tiny_model.build(card, heatmap=False, classes=False, novelty=False)
    (model_folder / "model.onnx").write_bytes(content)
    classifier = Classifier.open(model_folder)
    (finding,) = classify(classifier, flat(127))
    assert not classifier.has_heatmap
    assert (finding.heatmap, finding.subtypes, finding.novelty) == (None, None, None)
    assert finding.reasons == ()


def test_a_film_without_a_probability_fails_alone(model_folder: Path) -> None:
    (model_folder / "model.onnx").write_bytes(tiny_model.build(nan="for dark films"))
    classifier = Classifier.open(model_folder)
    before, poisoned, after = classifier.classify([flat(140), flat(0), flat(110)])
    assert isinstance(poisoned, DeviceFailed)
    assert isinstance(before, Finding)
    assert isinstance(after, Finding)
    assert before.probability == pytest.approx(probability_of(140), abs=1e-5)
    assert (before.label, after.label) == ("PNEUMONIA", "NORMAL")


@pytest.mark.parametrize("name", ["probability", "classes", "heatmap", "novelty"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_output_may_be_infinite_or_missing(classifier: Classifier, name: str, value: float) -> None:
    outputs = classifier.run(stacked(flat(140), flat(120)))
    outputs.named()[name][1] = value
    assert outputs.sound().tolist() == [True, False]


@pytest.mark.parametrize("probability", [-0.1, 1.1])
def test_a_probability_lies_between_0_and_1(classifier: Classifier, probability: float) -> None:
    outputs = classifier.run(stacked(flat(140), flat(120)))
    outputs.probability[0] = probability
    assert outputs.sound().tolist() == [False, True]


def test_a_device_that_raises_is_a_device_failure(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)
    gate.broken = True
    with pytest.raises(DeviceFailed, match="fell off the bus"):
        classifier.run(stacked(flat(140)))


def test_raw_outputs_are_float32_of_the_contracts_shapes(classifier: Classifier) -> None:
    pixels: npt.NDArray[np.uint8] = np.zeros((3, tiny_model.SIZE, tiny_model.SIZE), np.uint8)
    outputs = classifier.run(pixels)
    assert outputs.probability.shape == (3,)
    assert outputs.classes is not None
    assert outputs.heatmap is not None
    assert outputs.novelty is not None
    assert outputs.classes.shape == (3, 3)
    assert np.allclose(outputs.classes.sum(axis=1), 1, atol=1e-6)
    assert outputs.heatmap.shape == (3, tiny_model.BLOCKS, tiny_model.BLOCKS)
    assert outputs.novelty.shape == (3,)
    assert outputs.probability.dtype == np.float32
