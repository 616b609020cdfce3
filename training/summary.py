"""Everything that is known of a finished run and of the files made from it: figures, pictures, one page.

All figures are of the fold that the run never saw, by the service's own engine on the exported files, but for
those that a file's manifest tells (calibration, threshold); intervals are 95 %, patients resampled
(`training.metrics`). The same run, files and films give the same page.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupKFold

from app.engine.classifier import Classifier, Outputs
from app.engine.errors import ModelFileError
from app.engine.manifest import (
    Calibration,
    Estimate,
    Evaluation,
    Manifest,
    Novelty,
    Part,
    Threshold,
    UncertaintyBand,
)
from training import page as pages
from training.calibrate import Scaling, cross_fit, describe_uncertainty, sigmoid
from training.dataset import Dataset, Pixels, list_digest
from training.evaluate import Conclusion, classifier_outputs, classifier_scores, review_by_reason
from training.exploration import Count
from training.fit import partition
from training.folds import group
from training.metrics import (
    Array,
    Mask,
    OperatingPoint,
    Scored,
    auc_difference,
    evaluate,
    operating_points,
    share,
)
from training.probes import ORDINARY, PROBES, Outcome, draw_probes, probes, score_probes
from training.recipe import Recipe
from training.report import (
    draw_agreement,
    draw_calibration,
    draw_history,
    draw_mean_heatmaps,
    draw_metrics,
    draw_novelty,
    draw_scores,
    draw_slices,
)
from training.restyle import CHANGES
from training.saliency import HeatmapCheck, draw_check
from training.saliency import check as check_heatmaps

FILES = {"model.onnx": "half precision", "model.int8.onnx": "int8"}
"""Files of a model's folder, and what to call them."""
SWEEP = (0.01, 0.02, *(round(0.05 * step, 2) for step in range(1, 20)), 0.97, 0.98, 0.99)
CLASSES = ("normal", "bacterial", "viral")
HEATMAP_STEPS, HEATMAP_DRAWS = 10, 4


class ReportError(ValueError):
    """No report can be made of these; the message says why."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What a report is made from.

    `models`: folder with `model.onnx` and, where it was written, `model.int8.onnx`. `run`: folder of the finished
    run that they were exported from. `films`: the split that it was trained on, with slices.
    """

    models: Path
    run: Path
    films: Dataset


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is spent: pictures of each kind for the novelty, and films for the heat map's check (0: none)."""

    probes: int = 100
    heatmap_films: int = 32


class Errors(Part):
    """Films called wrong at the file's threshold, and how many of them are of each sort.

    `uncertain` and `review`: those that lie in the uncertainty band, or for which the service asks a person to
    look for whatever reason.
    """

    films: int
    sorts: dict[str, int]
    uncertain: int
    review: int


class Band(Part):
    """What the uncertainty band does.

    `inside`: share of films in it; the others are counted by class. `sensitivity`, `specificity`: at the file's
    threshold, of the films outside it. `let_pass`: films outside it that are called wrong. `pneumonia_below`,
    `normal_above`: share of each class that lies beyond the band on the wrong side; of new films like these the
    method expects at most 1 - coverage. The `crossed_` ones are of bands fitted on four fifths of the patients and
    tried on the fifth.
    """

    band: UncertaintyBand
    inside: Estimate
    normal_outside: int
    pneumonia_outside: int
    sensitivity: Estimate
    specificity: Estimate
    let_pass: int
    pneumonia_below: Estimate
    normal_above: Estimate
    crossed_inside: Estimate
    crossed_pneumonia_below: Estimate
    crossed_normal_above: Estimate


class Flagged(Part):
    """Pictures of one kind, made as `how` says.

    `novel`: share whose novelty exceeds the limit. `median_ratio`: median of novelty over the limit.
    `badly_exposed`: share for which the limits of exposure ask for a review. `either`: share that is one or both.
    """

    kind: str
    how: str
    pictures: int
    novel: float
    median_ratio: float
    badly_exposed: float
    either: float


class FileFigures(Part):
    """Figures of one file; `name` is what to call it.

    `changed`: at the same threshold on the same films with the style or the shape of the other class, by the names
    of `training.restyle.CHANGES`.
    `subtypes`: bacterial (as the positive class) against viral, by the share that the file gives to bacterial
    pneumonia at 0.5, on pneumonia films of known kind. `review`: share of films for which the service asks a
    person to look, by reason and for `any`. `mean_heatmaps`: logits, [h][w], by class.
    """

    file: str
    name: str
    precision: str
    sha256: str
    threshold: Threshold
    evaluation: Evaluation
    changed: dict[str, Evaluation]
    calibration: Calibration
    subtypes: Evaluation | None
    points: tuple[OperatingPoint, ...]
    missed: Errors
    false_alarms: Errors
    band: Band | None
    review: dict[str, Estimate]
    novelty: Novelty | None
    novel: Estimate | None
    probes: tuple[Flagged, ...]
    mean_heatmaps: dict[str, list[list[float]]]


class Agreement(Part):
    """int8 against half precision, film by film.

    `auc_difference`: int8's less half precision's, same films resampled. `changed`: share of films of another
    label, each file at its own threshold; `to_pneumonia`, `to_normal`: how many which way. `median_distance`,
    `largest_distance`: of the probabilities.
    """

    auc_difference: Estimate
    changed: Estimate
    to_pneumonia: int
    to_normal: int
    median_distance: float
    largest_distance: float


class Summary(Part):
    """All figures of a report; `report.json` beside its pictures.

    `parts`: films learnt from, watched while learning, and held out. `slices`: films of each slice among the held
    out. `history`: one entry an epoch. `heatmap_check`: None where it was left out.
    """

    command: str
    name: str
    version: str
    architecture: str
    input_size: int
    recipe: Recipe
    training_command: str
    libraries: dict[str, str]
    data: str
    licence: str
    films_sha256: str
    parts: dict[str, Count]
    slices: dict[str, int]
    files: tuple[FileFigures, ...]
    agreement: Agreement | None
    heatmap_check: HeatmapCheck | None
    history: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Answers:
    """What one file says of the held-out films.

    `name`: what to call the file. `review`: films for which a person should look, bool [films], by reason and for
    `any`.
    """

    classifier: Classifier
    name: str
    outputs: Outputs
    scored: Scored
    review: dict[str, Mask]

    @property
    def manifest(self) -> Manifest:
        """Of the file."""
        return self.classifier.manifest

    @property
    def called(self) -> Mask:
        """Films called pneumonia at the file's own threshold, bool [films]."""
        return self.scored.scores >= self.manifest.threshold.value


def write_report(
    sources: Sources,
    page: Path,
    pictures: Path,
    command: str,
    tell: Callable[[str], None],
    *,
    effort: Effort = Effort(),
) -> Summary:
    """Measure, draw and write: `page` in Markdown, pictures and `report.json` into the folder `pictures`.

    Args:
        sources: the run, its films and its files.
        page: of the report; links to the pictures are relative to it.
        pictures: folder, made where it is not there.
        command: that makes the report again, as the page is to say it.
        tell: told of each step.
        effort: how much is spent on what takes longest.

    Raises:
        ReportError: something of the run or the files is missing, or the films, run and files do not belong
            together.
        SaliencyError: the heat map cannot be checked on these films.
    """
    conclusion, recipe, history = _read_run(sources.run)
    parts = partition(sources.films, recipe)
    learnt_from = [*parts.learn.films, *parts.monitor.films]
    if list_digest(learnt_from) != conclusion.films_sha256:
        raise ReportError(f"These are not the films that {sources.run} was trained on.")
    held_out = parts.held_out
    answers = []
    for file, name in FILES.items():
        if (sources.models / file).is_file():
            tell(f"reading the held-out films in {name}")
            answers.append(_answers(sources.models / file, name, held_out, conclusion))
    if not answers or answers[0].name != FILES["model.onnx"]:
        raise ReportError(f"There is no {sources.models / 'model.onnx'}.")

    tell("drawing")
    pictures.mkdir(parents=True, exist_ok=True)
    for one in answers:
        _draw(pictures / one.manifest.precision, one, held_out, conclusion)
    draw_history(pictures / "learning_curves.png", history)
    made = probes(held_out, effort.probes)
    changed = {name: replace(held_out, pixels=change(held_out)) for name, change in CHANGES.items()}
    files = []
    for one in answers:
        tell(f"judging changed films and pictures that are no chest film in {one.name}")
        outcomes = _probed(one, made)
        if outcomes and one.manifest.novelty:
            folder = pictures / one.manifest.precision
            draw_probes(folder / "probes.png", outcomes, one.manifest.novelty.limit)
        files.append(_figures(one, held_out, changed, outcomes))
    draw_slices(pictures / "figures.png", {each.name: each.evaluation for each in files})
    agreement = None
    if len(answers) == 2:
        agreement = _agreement(*answers)
        thresholds = np.array([one.manifest.threshold.value for one in answers])
        names = (answers[0].name, answers[1].name)
        draw_agreement(pictures / "agreement.png", answers[0].scored, answers[1].scored, names, thresholds)
    if all(one.outputs.novelty is not None for one in answers):
        draw_novelty(pictures / "novelty.png", {one.name: _novelty_and_limit(one) for one in answers})
    heatmap_check = None
    if effort.heatmap_films and answers[0].outputs.heatmap is not None:
        tell("checking the heat map")
        heatmap_check = _check_heatmaps(sources.run, held_out, answers[0], effort.heatmap_films)
        draw_check(pictures / "heatmap_check.png", heatmap_check)

    manifest = answers[0].manifest
    data = manifest.training.data
    summary = Summary(
        command=command,
        name=manifest.name,
        version=manifest.version,
        architecture=manifest.architecture,
        input_size=manifest.input_size,
        recipe=recipe,
        training_command=manifest.training.command,
        libraries=manifest.training.libraries,
        data=f"{data.name} ({data.source})" if data else "",
        licence=data.licence if data else "",
        films_sha256=conclusion.films_sha256,
        parts={
            "learnt from": _count(parts.learn),
            "watched while learning": _count(parts.monitor),
            "held out": _count(held_out),
        },
        slices={name: int(mask.sum()) for name, mask in held_out.slices.items()},
        files=tuple(files),
        agreement=agreement,
        heatmap_check=heatmap_check,
        history=history,
    )
    (pictures / "report.json").write_text(summary.model_dump_json(indent=1) + "\n")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(pages.write(summary, page, pictures))
    return summary


def _read_run(run: Path) -> tuple[Conclusion, Recipe, list[dict[str, Any]]]:
    for name in ("config.json", "calibration.json", "history.json", "model.keras", "novelty.npz"):
        if not (run / name).is_file():
            raise ReportError(f"{run} is no folder of a finished run: it lacks {name}.")
    conclusion = Conclusion.model_validate_json((run / "calibration.json").read_text())
    return conclusion, Recipe.of_run(run), json.loads((run / "history.json").read_text())


def _answers(path: Path, name: str, films: Dataset, conclusion: Conclusion) -> Answers:
    try:
        classifier = Classifier.open_file(path)
    except ModelFileError as error:
        raise ReportError(str(error)) from error
    manifest = classifier.manifest
    data = manifest.training.data
    own_temperature = manifest.precision == "int8"
    if (
        data is None
        or data.films_sha256 != conclusion.films_sha256
        or manifest.training.command != conclusion.command
        or not (own_temperature or manifest.calibration.temperature == conclusion.calibration.temperature)
    ):
        raise ReportError(f"{path} was not exported from this run.")
    pixels = films.resized(classifier.input_size)
    outputs = classifier_outputs(classifier, pixels)
    by_reason = review_by_reason(outputs, pixels, manifest)
    review = {**by_reason, "any": np.any(list(by_reason.values()), axis=0)}
    return Answers(classifier, name, outputs, Scored.of(films, outputs.probability), review)


def _figures(
    one: Answers, films: Dataset, changed: Mapping[str, Dataset], outcomes: Sequence[Outcome]
) -> FileFigures:
    scored, manifest = one.scored, one.manifest
    positive = scored.labels == 1
    thresholds = sorted({*SWEEP, manifest.threshold.value})
    everything = np.ones_like(positive)
    size = one.classifier.input_size
    of_changed = {name: classifier_scores(one.classifier, of.resized(size)) for name, of in changed.items()}
    return FileFigures(
        file=next(file for file, name in FILES.items() if name == one.name),
        name=one.name,
        precision=manifest.precision,
        sha256=one.classifier.sha256,
        threshold=manifest.threshold,
        evaluation=evaluate(scored, manifest.threshold.value),
        changed={
            name: evaluate(Scored.of(films, scores), manifest.threshold.value)
            for name, scores in of_changed.items()
        },
        calibration=manifest.calibration,
        subtypes=_subtypes(one, films),
        points=operating_points(scored, thresholds),
        missed=_errors(one, positive & ~one.called, ("bacterial", "viral", "hard_pneumonia")),
        false_alarms=_errors(one, ~positive & one.called, ("hard_normal",)),
        band=_band(one) if manifest.uncertainty else None,
        review={code: share(scored.groups, mask, everything) for code, mask in one.review.items()},
        novelty=manifest.novelty,
        novel=share(scored.groups, one.review["novel"], everything) if manifest.novelty else None,
        probes=tuple(
            Flagged(
                kind=outcome.kind,
                how=PROBES[outcome.kind].how if outcome.kind in PROBES else "held-out films as they are",
                pictures=len(outcome.ratios),
                novel=float(outcome.review["novel"].mean()),
                median_ratio=float(np.median(outcome.ratios)),
                badly_exposed=float(outcome.review["exposure"].mean()),
                either=float((outcome.review["novel"] | outcome.review["exposure"]).mean()),
            )
            for outcome in outcomes
        ),
        mean_heatmaps={
            name: heatmap.round(4).tolist() for name, heatmap in _mean_heatmaps(one, films).items()
        },
    )


def _subtypes(one: Answers, films: Dataset) -> Evaluation | None:
    known = np.isin(films.kinds, ("bacterial", "viral"))
    bacterial = (films.kinds == "bacterial")[known].astype(np.int64)
    if one.outputs.classes is None or not bacterial.any() or bacterial.all():
        return None
    _, to_bacterial, to_viral = one.outputs.classes[known].astype(np.float64).T
    given_pneumonia = to_bacterial / np.maximum(to_bacterial + to_viral, 1e-12)
    return evaluate(Scored(bacterial, given_pneumonia, one.scored.groups[known]), 0.5)


def _errors(one: Answers, wrong: Mask, sorts: Sequence[str]) -> Errors:
    slices = one.scored.slices
    return Errors(
        films=int(wrong.sum()),
        sorts={name: int((wrong & slices[name]).sum()) for name in sorts if name in slices},
        uncertain=int((wrong & one.review["uncertain"]).sum()),
        review=int((wrong & one.review["any"]).sum()),
    )


def _band(one: Answers) -> Band:
    band = one.manifest.uncertainty
    assert band is not None  # noqa: S101 - the only caller asked
    scored = one.scored
    positive = scored.labels == 1
    inside, below, above = _against_band(scored.scores, band)
    crossed = crossed_band(scored, band.coverage)
    everything = np.ones_like(positive)

    def of(part: Mask, whole: Mask) -> Estimate:
        return share(scored.groups, part, whole)

    return Band(
        band=band,
        inside=of(inside, everything),
        normal_outside=int((~positive & ~inside).sum()),
        pneumonia_outside=int((positive & ~inside).sum()),
        sensitivity=of(one.called, positive & ~inside),
        specificity=of(~one.called, ~positive & ~inside),
        let_pass=int(((one.called != positive) & ~inside).sum()),
        pneumonia_below=of(below, positive),
        normal_above=of(above, ~positive),
        crossed_inside=of(crossed[0], everything),
        crossed_pneumonia_below=of(crossed[1], positive),
        crossed_normal_above=of(crossed[2], ~positive),
    )


def _against_band(scores: Array, band: UncertaintyBand) -> tuple[Mask, Mask, Mask]:
    """Which scores lie inside the band, below it and above it."""
    below, above = scores < band.low, scores > band.high
    return ~below & ~above, below, above


def crossed_band(scored: Scored, coverage: float) -> Array:
    """Which films lie inside, below and above a band fitted on other patients' films: bool [3, films].

    Five parts of the patients, each against the band of the other four; fewer where there are fewer patients.
    """
    found = np.zeros((3, len(scored.labels)), bool)
    parts = min(5, len(np.unique(scored.groups)))
    for rest, part in GroupKFold(parts).split(scored.scores, scored.labels, scored.groups):
        of_rest = replace(
            scored,
            labels=scored.labels[rest],
            scores=scored.scores[rest],
            groups=scored.groups[rest],
            slices={},
        )
        found[:, part] = _against_band(scored.scores[part], describe_uncertainty(of_rest, coverage))
    return found


def _probed(one: Answers, made: dict[str, Pixels]) -> tuple[Outcome, ...]:
    if one.manifest.novelty is None or one.outputs.novelty is None:
        return ()
    values, limit = _novelty_and_limit(one)
    return (Outcome(ORDINARY, values / limit, one.review), *score_probes(one.classifier, made))


def _novelty_and_limit(one: Answers) -> tuple[Array, float]:
    assert one.outputs.novelty is not None and one.manifest.novelty is not None  # noqa: S101
    return one.outputs.novelty.astype(np.float64), one.manifest.novelty.limit


def _agreement(half: Answers, int8: Answers) -> Agreement:
    changed = half.called != int8.called
    distance = np.abs(half.scored.scores - int8.scored.scores)
    return Agreement(
        auc_difference=auc_difference(half.scored, int8.scored),
        changed=share(half.scored.groups, changed, np.ones_like(changed)),
        to_pneumonia=int((changed & int8.called).sum()),
        to_normal=int((changed & half.called).sum()),
        median_distance=float(np.median(distance)),
        largest_distance=float(distance.max()),
    )


def _check_heatmaps(run: Path, films: Dataset, one: Answers, count: int) -> HeatmapCheck:
    """The served file's probabilities and heat maps, with the run's network for gradients and random weights."""

    def score(pixels: Pixels) -> Array:
        return classifier_scores(one.classifier, pixels)

    def explain(pixels: Pixels) -> npt.NDArray[np.float32]:
        heatmap = classifier_outputs(one.classifier, pixels).heatmap
        assert heatmap is not None  # noqa: S101 - networks of the registry have one
        return heatmap

    network = keras.saving.load_model(run / "model.keras", compile=False)
    return check_heatmaps(
        network,
        films,
        score,
        one.manifest.threshold.value,
        explain=explain,
        count=count,
        steps=HEATMAP_STEPS,
        draws=HEATMAP_DRAWS,
    )


def _mean_heatmaps(one: Answers, films: Dataset) -> dict[str, Array]:
    heatmap = one.outputs.heatmap
    if heatmap is None:
        return {}
    return {
        name: heatmap[films.kinds == name].mean(axis=0, dtype=np.float64)
        for name in CLASSES
        if (films.kinds == name).any()
    }


def _draw(folder: Path, one: Answers, films: Dataset, conclusion: Conclusion) -> None:
    """The pictures of one file."""
    threshold, band = one.manifest.threshold.value, one.manifest.uncertainty
    draw_metrics(folder, one.scored, evaluate(one.scored, threshold), threshold)
    scores = {kind: one.scored.scores[films.kinds == kind] for kind in (*CLASSES, "unknown")}
    scores = {f"pneumonia, {kind}" if kind != "normal" else kind: found for kind, found in scores.items()}
    draw_scores(
        folder / "scores.png",
        {kind: found for kind, found in scores.items() if len(found)},
        threshold,
        (band.low, band.high) if band else None,
    )
    if one.manifest.precision == "int8":  # its bias is told nowhere, and cross-fitting asks for none
        logits = Scaling(temperature=1.0, bias=0.0).logits(one.scored.scores)
        calibrated = {"after": cross_fit(logits, one.scored)}
    else:
        logits = conclusion.scaling.logits(one.scored.scores)
        calibrated = {"before": sigmoid(logits), "after": cross_fit(logits, one.scored)}
    draw_calibration(folder / "reliability.png", one.scored.labels, calibrated)
    heatmaps = _mean_heatmaps(one, films)
    if heatmaps:
        draw_mean_heatmaps(folder / "mean_heatmaps.png", heatmaps)


def _count(films: Dataset) -> Count:
    """Its patients are groups of films that may be of one patient, as in every interval."""
    return Count.of(films.films).model_copy(update={"patients": len(np.unique(group(films.films)))})
