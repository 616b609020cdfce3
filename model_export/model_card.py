"""The card beside a model file, written from its manifest alone and from what the export measured."""

from pathlib import Path

from app.engine.manifest import Estimate, Evaluation, Manifest
from model_export.verify import Int8Parity, Parity


def write_card(
    path: Path, manifests: dict[str, Manifest], sizes: dict[str, int], parity: Parity, int8: Int8Parity | None
) -> None:
    """Write the card of the files named in `manifests` (file name → manifest) and `sizes` (bytes)."""
    main = next(iter(manifests.values()))
    sections = [
        f"# Model card: {main.name} {main.version}",
        f"{_article(main.architecture)} for chest radiographs: the probability of pneumonia, a label at a "
        "recall-tuned threshold, and where on the film the evidence lies. Written by the export from the "
        "file's own manifest and from what the export measured.",
        "## Use",
        main.intended_use,
        "It is no medical device. It says nothing of any other finding, and NORMAL means no more than *below "
        "the threshold*.",
        "## Training",
        _training(main),
        "## Figures",
        *_figures(manifests),
        "## Probabilities, doubt and novelty",
        _doubt(main),
        "## Files",
        _files(manifests, sizes),
        _parity(parity, int8, manifests.get("model.int8.onnx")),
        "## What it is weak at",
        "- One hospital, children of one to five years, frontal films. Other ages, views, devices and hospitals "
        "were not measured.\n"
        "- In this data set the style of acquisition goes with the label: normal films are mostly upright and "
        "crisp, many pneumonia films portable and grey. A held-out fold of the same films does not show how "
        "much a network leans on that; published networks on it lose most in specificity elsewhere.\n"
        "- Age, sex and severity of the patients are unknown, so no figure can be given by group.\n"
        "- Labels come from two readers and a third for the test films, not from culture or follow-up "
        "(Kermany et al., 2018).",
        "## Licence",
        _licence(main),
    ]
    path.write_text("\n\n".join(section for section in sections if section) + "\n")


def _article(architecture: str) -> str:
    return f"A{'n' if architecture[:1] in 'aeio' else ''} `{architecture}`"


def _training(manifest: Manifest) -> str:
    training = manifest.training
    lines = [f"- Made by `{training.command}`."]
    if training.data:
        data = training.data
        lines.append(
            f"- Films: {data.name}, {data.source} ({data.licence}). {data.films:,} films were trained on; the "
            f"SHA-256 of their list is `{data.films_sha256}`."
        )
    if training.folds is not None:
        lines.append(
            f"- Fold {training.held_out_fold} of {training.folds} (seed {training.seed}; grouped by patient "
            "number and by identical bytes, stratified by kind) was never trained on. Calibration, "
            "threshold, band and every figure below come from it."
        )
    if training.libraries:
        lines.append(
            "- " + ", ".join(f"{name} {version}" for name, version in training.libraries.items()) + "."
        )
    return "\n".join(lines)


def _figures(manifests: dict[str, Manifest]) -> list[str]:
    tables = []
    for file, manifest in manifests.items():
        for split, evaluation in manifest.evaluation.items():
            tables.append(
                f"`{file}` on {split.replace('_', ' ')} ({evaluation.normal} normal and {evaluation.pneumonia} "
                f"pneumonia films of {evaluation.patients} patients), at its threshold of "
                f"{manifest.threshold.value:.4f}. Intervals are 95 %, bootstrapped by patient.\n\n"
                + _table(evaluation)
            )
    return tables or ["The file came without films to judge it on: no figure is known."]


def _table(evaluation: Evaluation) -> str:
    figures = {name: value for name, value in evaluation if isinstance(value, Estimate)} | evaluation.slices
    rows = [
        f"| {name.replace('_', ' ')} | {value.value:.4f} | {value.low:.4f} – {value.high:.4f} |"
        for name, value in figures.items()
    ]
    matrix = (
        f"Confusion matrix: {evaluation.true_negatives} normal films called normal, "
        f"{evaluation.false_positives} called pneumonia; {evaluation.true_positives} pneumonia films called "
        f"pneumonia, {evaluation.false_negatives} called normal."
    )
    return "\n".join(["| figure | value | interval |", "| --- | --- | --- |", *rows]) + "\n\n" + matrix


def _doubt(manifest: Manifest) -> str:
    calibration = manifest.calibration
    lines = [
        f"- Threshold {manifest.threshold.value:.4f}: {manifest.threshold.rule}.",
        "- Not calibrated: no films were given."
        if calibration.prevalence is None
        else f"- Calibrated with temperature {calibration.temperature:.3f} for a prevalence of "
        f"{calibration.prevalence:.1%}; where pneumonia is rarer, the probabilities are too high.",
    ]
    if calibration.expected_calibration_error is not None and calibration.brier_score is not None:
        lines.append(
            f"- Expected calibration error {calibration.expected_calibration_error:.4f}, Brier score "
            f"{calibration.brier_score:.4f} (held-out fold, cross-fitted by patient)."
        )
    if manifest.uncertainty:
        band = manifest.uncertainty
        lines.append(
            f"- Probabilities from {band.low:.4f} to {band.high:.4f} ask for review (class-conditional "
            f"conformal band at {band.coverage:.0%} coverage); {band.share_of_films:.1%} of the held-out films "
            "lie inside."
        )
    if manifest.novelty:
        lines.append(
            f"- Novelty above {manifest.novelty.limit:.3f} asks for review ({manifest.novelty.method}); "
            f"{manifest.novelty.share_of_films:.1%} of the held-out films lie above."
        )
    return "\n".join(lines)


def _files(manifests: dict[str, Manifest], sizes: dict[str, int]) -> str:
    rows = [
        f"| `{file}` | {manifest.precision} | {sizes[file] / 1e6:.1f} MB | {manifest.threshold.value:.4f} |"
        for file, manifest in manifests.items()
    ]
    return "\n".join(["| file | precision | size | threshold |", "| --- | --- | --- | --- |", *rows])


def _parity(parity: Parity, int8: Int8Parity | None, quantised: Manifest | None) -> str:
    lines = [
        f"- Keras and single-precision ONNX differ by at most {parity.probability:.1e} in probability on "
        f"{parity.films} noise and synthetic films; half precision by at most {parity.half:.1e} from single."
    ]
    if parity.heatmap is not None:
        lines.append(
            f"- The mean of the heat map is the pneumonia logit to within {parity.heatmap:.1e} on the same films."
        )
    if int8:
        lines.append(
            f"- int8 on the held-out films: AUC {int8.auc:.4f} against {int8.auc_half:.4f} in half precision; "
            f"{int8.labels_changed:.2%} of labels changed, each file at its own threshold"
            + ("." if int8.holds else ": too far apart, so it is not shipped.")
        )
    if quantised and quantised.calibration.brier_score is not None:
        calibration = quantised.calibration
        lines.append(
            f"- int8 has a calibration of its own: temperature {calibration.temperature:.3f}, expected "
            f"calibration error {calibration.expected_calibration_error:.4f}, Brier score "
            f"{calibration.brier_score:.4f}."
        )
    return "\n".join(lines)


def _licence(manifest: Manifest) -> str:
    data = manifest.training.data
    source = f" The films are {data.licence}: {data.source}." if data else ""
    return f"{manifest.licence}.{source}"
