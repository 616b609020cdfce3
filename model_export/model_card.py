"""The card beside a model file, written from its manifest alone and from what the export measured.

Its sections are those of Mitchell et al., Model Cards for Model Reporting, 2019; after them come the items of two
reporting guidelines (`model_export.reporting_items`).
"""

import os
from collections.abc import Sequence
from pathlib import Path

from app.engine.manifest import Estimate, Evaluation, Manifest
from model_export.reporting_items import CLAIM_2024, TRIPOD_AI, Item, answer, facts
from model_export.verify import Int8Parity, Parity
from training.restyle import CHANGES
from training.wording import figure_name, table, with_interval

PROJECT = Path(__file__).resolve().parents[1]
REPORT = Path("docs/report.md")

FORBIDDEN_USE = """\
- To diagnose, to treat or to withhold treatment without a reader who looks at the film; to sort films out
  unread; in an emergency.
- To choose an antibiotic by its bacterial and viral shares.
- On patients or pictures that it does not know: other ages than its films', adults, lateral films, computed
  tomography, photographs of a film, other parts of the body.
- To look for anything but pneumonia: it says nothing of tuberculosis, effusion, pneumothorax, tumours, tubes or
  fractures, and NORMAL means no more than *below the threshold*.
- In a hospital, on a device or at a prevalence where it was not first measured on films with a known answer.
- As a medical device, which it is not, and wherever a law asks for one."""

ETHICS_OF_DATA = """\
- **Data.** The public films come without names; that does not exclude that a person is known again by a film.
  Their collectors report the approval of their review board (Kermany et al., 2018).
"""

ETHICS = """\
- **Privacy.** The service writes no pixel and no file name to a log, a metric or the disk.
- **Harm.** A missed pneumonia can kill a child; a false alarm can cost an antibiotic and a night in hospital.
  Where the threshold lies is a choice between the two (see Metrics).
- **Fairness.** Age, sex, origin and means of each patient are unknown here, so nobody can say for whom the model
  is worse.
- **Trust.** A heat map and a figure with many digits persuade. Readers who see them first may look less
  themselves; whether they do was not studied here."""

CHANGED = (
    "The same films in the style of the other class, at the same threshold. *Restyled*: each with the sharpness "
    "and the tone of a film of the other class; *reframed*: each cropped by a fifth, in height or in width, so "
    "that the chest takes the other class's shape."
)

WEAK_AT = """\
- One hospital, children of one to five years, frontal films. Other ages, views, devices and hospitals were not
  measured.
- In this data set the style of acquisition goes with the label: normal films are mostly upright and crisp, many
  pneumonia films portable and grey. A held-out fold of the same films does not show how much a network leans on
  that; published networks lose most in specificity on its official test split.
- Labels come from two readers and a third for the test films, not from culture or follow-up (Kermany et al.,
  2018).
- Calibration, threshold, band and novelty's limit are fitted on the films that the figures are of. Choices of the
  recipe were made by figures of the held-out folds 0 and 1 (`docs/ablations.md`), and choices between runs may
  have been made by those of this fold. The figures lean to the good side; by how much is not known."""

RECOMMENDATIONS = """\
- Measure it on a few hundred films of your own with `python -m training evaluate` before anybody sees an answer,
  and set `PNEUMOSCOPE_THRESHOLD` by what you find.
- Let a person look at every film, first at those that the service marks for review.
- Watch the probability and novelty metrics for drift, and stop when they move."""


def write_card(
    path: Path, manifests: dict[str, Manifest], sizes: dict[str, int], parity: Parity, int8: Int8Parity | None
) -> None:
    """Write the card of the files named in `manifests` (file name → manifest) and `sizes` (bytes)."""
    main = next(iter(manifests.values()))
    trained_here = main.training.data is not None
    report = _report(path)
    sections = [
        f"# Model card: {main.name} {main.version}",
        f"{_article(main.architecture)} for chest radiographs: the probability of pneumonia and a label at a "
        f"threshold{', with a heat map' if parity.heatmap is not None else ''}. Written by the export from the "
        "file's own manifest and from what the export measured; its sections are those of Mitchell et al. "
        "(2019).",
        _headline(main),
        "The figures as pictures, and more of them, where `python -m training report` was run on these files: "
        f"{report}, which names their SHA-256."
        if trained_here
        else "",
        "## Model details",
        _details(main),
        _files(manifests, sizes),
        "## Intended use",
        f"{main.intended_use} Its users are readers of chest films and those who study such models.",
        "**Forbidden use:**",
        FORBIDDEN_USE,
        "## Factors",
        _factors(main),
        "## Metrics",
        _metrics(manifests),
        "## Evaluation data",
        _evaluation_data(main),
        "## Training data",
        _training_data(main),
        "## Quantitative analyses",
        *_figures(manifests),
        _doubt(manifests),
        _parity(parity, int8),
        "## Ethical considerations",
        (ETHICS_OF_DATA if trained_here else "") + ETHICS,
        "## Caveats and recommendations",
        _weak_at(main),
        RECOMMENDATIONS,
        *_guideline(
            "CLAIM 2024", "Tejani et al., Radiology: Artificial Intelligence 2024", CLAIM_2024, main, report
        ),
        *_guideline("TRIPOD+AI", "Collins et al., BMJ 2024;385:e078378", TRIPOD_AI, main, report),
    ]
    path.write_text("\n\n".join(section for section in sections if section) + "\n")


def _article(architecture: str) -> str:
    return f"A{'n' if architecture[:1] in 'aeio' else ''} `{architecture}`"


def _report(path: Path) -> str:
    """The report by name, as a link where the card lies in the project."""
    if not path.resolve().is_relative_to(PROJECT):
        return f"`{REPORT.as_posix()}`"
    return f"[the report]({Path(os.path.relpath(PROJECT / REPORT, path.resolve().parent)).as_posix()})"


def _headline(manifest: Manifest) -> str:
    for split, evaluation in manifest.evaluation.items():
        return (
            f"On {split.replace('_', ' ')}: AUC {with_interval(evaluation.auc)}, sensitivity "
            f"{with_interval(evaluation.sensitivity)}, specificity {with_interval(evaluation.specificity)} at the "
            f"threshold of {manifest.threshold.value:.4f}; 95 % intervals. Nothing is known of films of another "
            "source."
        )
    return "No figure is known: the export was given no films to judge it on."


def _details(manifest: Manifest) -> str:
    training = manifest.training
    lines = [
        f"- Name and version: {manifest.name} {manifest.version}, made on {manifest.created:%Y-%m-%d}.",
        f"- Architecture: `{manifest.architecture}`, {manifest.input_size} × {manifest.input_size} pixels in; "
        "ONNX with pre- and post-processing and manifest inside.",
        f"- Made by `{training.command}`.",
        f"- Licence: {manifest.licence}.",
        "- Developed by the maintainers of Pneumoscope; questions go to its issue tracker."
        if training.data
        else "- Trained elsewhere, exported by Pneumoscope; questions go to whoever trained it.",
    ]
    if training.libraries:
        named = ", ".join(f"{name} {version}" for name, version in training.libraries.items())
        lines.insert(3, f"- Libraries: {named}.")
    return "\n".join(lines)


def _files(manifests: dict[str, Manifest], sizes: dict[str, int]) -> str:
    rows = [
        [f"`{file}`", manifest.precision, f"{sizes[file] / 1e6:.1f} MB", f"{manifest.threshold.value:.4f}"]
        for file, manifest in manifests.items()
    ]
    return table(["file", "precision", "size", "threshold"], rows)


def _factors(manifest: Manifest) -> str:
    relevant = (
        "Relevant: age, sex and severity of the patient, kind of pneumonia, style of acquisition (upright or "
        "portable, sharpness, contrast, leads), device, hospital. "
    )
    sliced = [name for evaluation in manifest.evaluation.values() for name in evaluation.slices]
    named = dict.fromkeys(name.partition("_")[2] for name in sliced if not name.startswith("auc"))
    if not named:
        return relevant + "Evaluated: none by itself."
    evaluated = f"Evaluated: {', '.join(name.replace('_', ' ') for name in named)}. "
    if "hard_normal" in named or "hard_pneumonia" in named:
        evaluated += (
            "Style is judged by an 8 × 8 thumbnail alone; *hard* is the fifth of a class on which it misleads "
            "most, *easy* the rest. "
        )
    return relevant + evaluated + "Age, sex, severity and device are not known for any film."


def _metrics(manifests: dict[str, Manifest]) -> str:
    lines = [
        "- Sensitivity leads, as a miss is the worse error; specificity, precision, accuracy and F1 at the "
        "threshold; AUC and average precision over all thresholds; calibration error and Brier score of the "
        "probability.",
        "- Intervals are 95 %, percentile bootstrap over 1,000 resamples of patients, not films; calibration "
        "error and Brier score have none. An interval without width says only that all these films were alike.",
    ]
    lines += [
        f"- Threshold of `{file}`: {manifest.threshold.value:.4f}; rule: "
        f"{manifest.threshold.rule}{_there(manifest)}."
        for file, manifest in manifests.items()
    ]
    return "\n".join(lines)


def _there(manifest: Manifest) -> str:
    sensitivity, specificity = manifest.threshold.sensitivity, manifest.threshold.specificity
    if sensitivity is None or specificity is None:
        return ""
    return f"; there sensitivity is {with_interval(sensitivity)} and specificity {with_interval(specificity)}"


def _evaluation_data(manifest: Manifest) -> str:
    training = manifest.training
    if not manifest.evaluation:
        return "None."
    counted = [
        f"- {split.replace('_', ' ').capitalize()}: {evaluation.films} films ({evaluation.normal} normal, "
        f"{evaluation.pneumonia} pneumonia) of {evaluation.patients} patients."
        for split, evaluation in manifest.evaluation.items()
        if not _change(split)
    ]
    if training.folds is None:
        return "\n".join([*counted, "- Films that the user gave; where they are from is not known here."])
    return "\n".join(
        [
            *counted,
            f"- Fold {training.held_out_fold} of {training.folds} (seed {training.seed}; grouped by patient "
            "number and by identical bytes, stratified by kind) was never trained on. Calibration, "
            "threshold, band, novelty's limit and the figures below come from it.",
            "- Taken because it is the same kind of film as the training's; that is also its limit. Decoded "
            "by the service's own decoder, as every upload is.",
        ]
    )


def _training_data(manifest: Manifest) -> str:
    data = manifest.training.data
    if data is None:
        return "Not known here: the network was trained elsewhere."
    return (
        f"- {data.name}, {data.source} ({data.licence}). {data.films:,} films were learnt from or watched; "
        f"the SHA-256 of their list is `{data.films_sha256}`.\n"
        "- Frontal films of children of one to five years, routine care of one hospital in Guangzhou; two "
        "physicians graded each (Kermany et al., Cell 2018). Bacterial and viral are told by the file "
        "names.\n- Several films of most patients, and identical files under different names: both are kept "
        "together in the folds."
    )


def _figures(manifests: dict[str, Manifest]) -> list[str]:
    tables = []
    for file, manifest in manifests.items():
        for split, evaluation in manifest.evaluation.items():
            if _change(split):
                continue
            tables.append(
                f"`{file}` on {split.replace('_', ' ')} ({evaluation.normal} normal and "
                f"{evaluation.pneumonia} pneumonia films of {evaluation.patients} patients), at its "
                f"threshold of {manifest.threshold.value:.4f}:\n\n" + _evaluation(evaluation)
            )
    changed = [
        [
            f"`{file}`",
            _change(split) or "as they are",
            *(
                with_interval(each)
                for each in (evaluation.auc, evaluation.sensitivity, evaluation.specificity)
            ),
        ]
        for file, manifest in manifests.items()
        for split, evaluation in manifest.evaluation.items()
    ]
    if any(_change(split) for manifest in manifests.values() for split in manifest.evaluation):
        tables.append(
            CHANGED + "\n\n" + table(["file", "films", "AUC", "sensitivity", "specificity"], changed)
        )
    return tables or ["The file came without films to judge it on: no figure is known."]


def _change(split: str) -> str:
    """What was done to the films of a split; empty if they are as they are."""
    return next((change for change in CHANGES if split.endswith(f"_{change}")), "")


def _evaluation(evaluation: Evaluation) -> str:
    figures = {name: value for name, value in evaluation if isinstance(value, Estimate)} | evaluation.slices
    rows = [
        [figure_name(name), f"{value.value:.4f}", f"{value.low:.4f} – {value.high:.4f}"]
        for name, value in figures.items()
    ]
    matrix = (
        f"Confusion matrix: {evaluation.true_negatives} normal films called normal, "
        f"{evaluation.false_positives} called pneumonia; {evaluation.true_positives} pneumonia films called "
        f"pneumonia, {evaluation.false_negatives} called normal."
    )
    return table(["figure", "value", "95 % interval"], rows) + "\n\n" + matrix


def _doubt(manifests: dict[str, Manifest]) -> str:
    """Calibration, band and novelty, a column for each file."""

    def number(value: float | None, form: str = ".4f") -> str:
        return "unknown" if value is None else f"{value:{form}}"

    rows: dict[str, list[str]] = {}
    for manifest in manifests.values():
        calibration, band, novelty = manifest.calibration, manifest.uncertainty, manifest.novelty
        told = {
            "temperature": number(
                calibration.temperature if calibration.prevalence is not None else None, ".3f"
            ),
            "prevalence that the probabilities are meant for": number(calibration.prevalence, ".1%"),
            "expected calibration error, before": number(calibration.uncalibrated_error),
            "expected calibration error, after": number(calibration.expected_calibration_error),
            "Brier score, before": number(calibration.uncalibrated_brier_score),
            "Brier score, after": number(calibration.brier_score),
            "probabilities that ask for review": f"{band.low:.4f} – {band.high:.4f}" if band else "none",
            "coverage that the band is set for": f"{band.coverage:.0%}" if band else "",
            "held-out films inside it": f"{band.share_of_films:.1%}" if band else "",
            "novelty that asks for review": f"above {novelty.limit:.3f}" if novelty else "none",
            "held-out films above it": f"{novelty.share_of_films:.1%}" if novelty else "",
        }
        for name, cell in told.items():
            rows.setdefault(name, []).append(cell)
    notes = []
    main = next(iter(manifests.values()))
    if main.calibration.prevalence is None:
        notes.append("Not calibrated: no films were given.")
    else:
        notes.append(
            "*After* is cross-fitted by patient; half precision's figures are of the network before conversion. "
            "Where pneumonia is rarer, the probabilities are too high."
        )
    if main.uncertainty:
        notes.append("The band is class-conditional split conformal prediction.")
    if main.novelty:
        notes.append(f"Novelty: {main.novelty.method}.")
    return (
        "Probabilities, doubt and novelty:\n\n"
        + table(["", *(f"`{file}`" for file in manifests)], [[name, *cells] for name, cells in rows.items()])
        + "\n\n"
        + " ".join(notes)
    )


def _parity(parity: Parity, int8: Int8Parity | None) -> str:
    lines = [
        "The files against each other:\n",
        f"- Keras and single-precision ONNX differ by at most {parity.probability:.1e} in probability on "
        f"{parity.films} noise and synthetic films; half precision by at most {parity.half:.1e} from single.",
    ]
    if parity.heatmap is not None:
        lines.append(
            f"- The mean of the heat map is the pneumonia logit to within {parity.heatmap:.1e} on the same "
            "films."
        )
    if int8:
        lines.append(
            f"- int8 on the held-out films: AUC {int8.auc:.4f} against {int8.auc_half:.4f} in half "
            f"precision; {int8.labels_changed:.2%} of labels changed, each file at its own threshold"
            + ("." if int8.holds else ": too far apart, so it was not written.")
        )
    return "\n".join(lines)


def _weak_at(manifest: Manifest) -> str:
    """What is known to be weak: the slices by which this file fails, where they were judged."""
    if manifest.training.data is None:
        return "- The network was trained elsewhere: what it is weak at is not known here."
    lines = [WEAK_AT]
    told = {
        "specificity_hard_normal": "normal films whose style looks like pneumonia: specificity",
        "sensitivity_hard_pneumonia": "pneumonia films whose style looks normal: sensitivity",
        "sensitivity_viral": "viral pneumonia: sensitivity",
    }
    plain = [evaluation for split, evaluation in manifest.evaluation.items() if not _change(split)]
    lines += [
        f"- Films {change}: AUC {with_interval(evaluation.auc)}, specificity "
        f"{with_interval(evaluation.specificity)}; that much may be owed to style, not to the lungs."
        for split, evaluation in manifest.evaluation.items()
        if (change := _change(split)) and evaluation.auc.value < plain[0].auc.value
    ]
    for evaluation in plain:
        lines += [
            f"- Weak on {name} {with_interval(evaluation.slices[figure])}, against "
            f"{with_interval(getattr(evaluation, figure.partition('_')[0]))} over all films of the class."
            for figure, name in told.items()
            if figure in evaluation.slices
            and evaluation.slices[figure].value < getattr(evaluation, figure.partition("_")[0]).value
        ]
    return "\n".join(lines)


def _guideline(
    name: str, source: str, items: Sequence[Item], manifest: Manifest, report: str
) -> tuple[str, str, str]:
    """Heading, source and table of the items' answers."""
    known = facts(manifest, report)
    trained_here = manifest.training.data is not None
    answers = [answer(item, known, trained_here=trained_here) for item in items]
    counts = {
        status: sum(each.status == status for each in answers)
        for status in ("reported", "partly", "unknown", "not done", "not applicable")
    }
    counted = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    rows = [[each.number, each.asks, each.status, each.words] for each in answers]
    return (
        f"## {name}",
        f"{source}; what each item asks is in our own words. {counted.capitalize()}.",
        table(["item", "asks for", "status", "answer"], rows),
    )
