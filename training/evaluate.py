"""Judge a model on films: figures with intervals, as JSON, table and pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from app.engine.classifier import Classifier, Outputs
from app.engine.errors import ModelFileError
from app.engine.finding import ReasonCode, review_reasons
from app.engine.manifest import (
    Calibration,
    Evaluation,
    ExposureLimits,
    Manifest,
    Novelty,
    Threshold,
    UncertaintyBand,
)
from app.imaging.radiograph import measure_exposure
from training.architectures import BACTERIAL, PNEUMONIA
from training.calibrate import (
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
)
from training.dataset import SOURCE_SIZE, Dataset, list_digest
from training.fit import partition, predict_logits
from training.metrics import Mask, Scored, evaluate
from training.recipe import Recipe
from training.report import draw_evaluation

Score = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float64]]
REASONS: tuple[ReasonCode, ...] = ("uncertain", "novel", "exposure")
"""For which the service asks a person to look."""

_BATCH = 16


class ModelError(ValueError):
    """A model file that cannot be judged; the message says why."""


class Conclusion(BaseModel):
    """What a finished run says of its network; `calibration.json` in its folder, read by the export."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scaling: Scaling
    kind_scaling: Scaling | None
    calibration: Calibration
    threshold: Threshold
    uncertainty: UncertaintyBand
    novelty: Novelty
    exposure: ExposureLimits
    evaluation: Evaluation
    films: int
    films_sha256: str
    command: str
    libraries: dict[str, str]


@dataclass(frozen=True, slots=True)
class Judged:
    """A model ready to score films: `score` maps uint8 [films, S, S] to probabilities, float64 [films].

    `input_size` is S in pixels. `recipe` tells which fold it never saw; None where that is unknown.
    """

    name: str
    score: Score
    input_size: int
    threshold: float
    recipe: Recipe | None


def conclude(
    network: keras.Model,
    films: Dataset,
    recipe: Recipe,
    run: Path,
    *,
    command: str,
    libraries: dict[str, str],
) -> Conclusion:
    """Calibrate a finished run on its held-out fold; write `calibration.json`, `novelty.npz` and pictures."""
    parts = partition(films, recipe)
    held_out = parts.held_out
    pixels = held_out.resized(recipe.input_size)
    both_logits = predict_logits(network, pixels)
    logits = both_logits[:, PNEUMONIA]
    scaling = fit_scaling(logits, held_out.labels)
    scored = Scored.of(held_out, scaling(logits))
    threshold = describe_threshold(scored)

    layer = middle_layer(network)
    seen = novelty_features(network, layer)
    space = FeatureSpace.fit(predict_logits(seen, parts.learn.resized(recipe.input_size)), layer)
    space.save(run / "novelty.npz")
    novelty = space.novelty(predict_logits(seen, pixels))

    learnt_from = [*parts.learn.films, *parts.monitor.films]
    conclusion = Conclusion(
        scaling=scaling,
        kind_scaling=_fit_kind(both_logits, held_out),
        calibration=describe_calibration(logits, scored, scaling),
        threshold=threshold,
        uncertainty=describe_uncertainty(scored),
        novelty=describe_novelty(novelty, space),
        exposure=describe_exposure(parts.learn),
        evaluation=evaluate(scored, threshold.value),
        films=len(learnt_from),
        films_sha256=list_digest(learnt_from),
        command=command,
        libraries=libraries,
    )
    (run / "calibration.json").write_text(conclusion.model_dump_json(indent=2) + "\n")
    (run / "metrics.json").write_text(conclusion.evaluation.model_dump_json(indent=2) + "\n")
    figures = run / "figures"
    draw_evaluation(figures, held_out, scored, conclusion.evaluation, threshold.value)
    return conclusion


def _fit_kind(logits: npt.NDArray[np.float32], films: Dataset) -> Scaling | None:
    """Calibration of *bacterial given pneumonia*, on films of known kind."""
    known = np.isin(films.kinds, ("bacterial", "viral"))
    bacterial = (films.kinds[known] == "bacterial").astype(np.int64)
    if not bacterial.any() or bacterial.all():
        return None
    return fit_scaling(logits[known, BACTERIAL], bacterial)


def open_model(path: Path, threshold: float | None = None) -> Judged:
    """A `.keras` file of a run's folder, or an `.onnx` file with its manifest.

    Raises:
        ModelError: the file is missing, or is neither.
    """
    if not path.is_file():
        raise ModelError(f"There is no model file {path}.")
    if path.suffix == ".onnx":
        return _open_onnx(path, threshold)
    if path.suffix in (".keras", ".h5"):
        return _open_keras(path, threshold)
    raise ModelError(f"{path} is neither a .keras nor an .onnx file.")


def _open_onnx(path: Path, threshold: float | None) -> Judged:
    try:
        classifier = Classifier.open_file(path)
    except ModelFileError as error:
        raise ModelError(str(error)) from error
    manifest = classifier.manifest

    def score(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        return classifier_scores(classifier, pixels)

    training = manifest.training
    recipe = None
    if training.folds is not None and training.held_out_fold is not None and training.seed is not None:
        recipe = Recipe(
            architecture=manifest.architecture,
            input_size=manifest.input_size,
            folds=training.folds,
            held_out_fold=training.held_out_fold,
            seed=training.seed,
        )
    return Judged(
        name=f"{manifest.name} {manifest.version}",
        score=score,
        input_size=manifest.input_size,
        threshold=threshold or manifest.threshold.value,
        recipe=recipe,
    )


def classifier_scores(classifier: Classifier, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Probabilities of films, float64 [films], from uint8 [films, side, side], by the service's own engine."""
    return classifier_outputs(classifier, pixels).probability.astype(np.float64)


def classifier_outputs(classifier: Classifier, pixels: npt.NDArray[np.uint8]) -> Outputs:
    """What the service's own engine says of any number of films, uint8 [films, side, side]."""
    parts = [classifier.run(pixels[start : start + _BATCH]) for start in range(0, len(pixels), _BATCH)]

    def together(name: str) -> npt.NDArray[np.float32] | None:
        found = [getattr(part, name) for part in parts]
        return None if found[0] is None else np.concatenate(found)

    return Outputs(
        probability=np.concatenate([part.probability for part in parts]),
        classes=together("classes"),
        heatmap=together("heatmap"),
        novelty=together("novelty"),
    )


def review_by_reason(outputs: Outputs, pixels: npt.NDArray[np.uint8], manifest: Manifest) -> dict[str, Mask]:
    """For which films the service asks a person to look, bool [films], by reason.

    Args:
        outputs: of a model file. pixels: its films, uint8 [films, side, side]. manifest: its own.
    """
    novelty = outputs.novelty if outputs.novelty is not None else [None] * len(pixels)
    asked = [
        {
            reason.code
            for reason in review_reasons(float(probability), unlike, measure_exposure(film), manifest)
        }
        for probability, unlike, film in zip(outputs.probability, novelty, pixels, strict=True)
    ]
    return {code: np.array([code in codes for codes in asked]) for code in REASONS}


def _open_keras(path: Path, threshold: float | None) -> Judged:
    try:
        network = keras.saving.load_model(path, compile=False)
    except Exception as error:  # a damaged file raises whatever its bytes provoke
        raise ModelError(f"{path} is not a readable Keras model: {error}") from error
    run = path.parent
    recipe = Recipe.of_run(run) if (run / "config.json").is_file() else None
    scaling = Scaling(temperature=1.0, bias=0.0)
    if (run / "calibration.json").is_file():
        conclusion = Conclusion.model_validate_json((run / "calibration.json").read_text())
        scaling = conclusion.scaling
        threshold = threshold or conclusion.threshold.value

    def score(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        return scaling(predict_logits(network, pixels)[:, PNEUMONIA])

    size = recipe.input_size if recipe else network.input_shape[1] or SOURCE_SIZE
    return Judged(path.name, score, size, threshold or 0.5, recipe)


def judge(model: Judged, films: Dataset, output: Path) -> Evaluation:
    """Figures of `model` on `films`; writes `metrics.json`, `scores.csv` and pictures into `output`."""
    output.mkdir(parents=True, exist_ok=True)
    scored = Scored.of(films, model.score(films.resized(model.input_size)))
    evaluation = evaluate(scored, model.threshold)
    (output / "metrics.json").write_text(evaluation.model_dump_json(indent=2) + "\n")
    lines = [
        f"{film.path},{film.label},{score:.6f}\n"
        for film, score in zip(films.films, scored.scores, strict=True)
    ]
    (output / "scores.csv").write_text("path,label,probability\n" + "".join(lines))
    draw_evaluation(output, films, scored, evaluation, model.threshold)
    return evaluation
