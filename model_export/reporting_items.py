"""What two reporting guidelines ask of a model like this, and the answers.

CLAIM: Tejani et al., Checklist for Artificial Intelligence in Medical Imaging: 2024 Update, Radiology: Artificial
Intelligence 2024, 44 items. TRIPOD+AI: Collins et al., BMJ 2024;385:e078378, 27 items in 52 parts. What an item
asks stands here in our own words; the guidelines' own words count.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Literal

from app.engine.manifest import Evaluation, Manifest
from training.wording import figure_name, with_interval

Status = Literal["reported", "partly", "unknown", "not done", "not applicable"]

TRAINED_ELSEWHERE = "The network was trained elsewhere; whoever trained it has to say."
NOT_JUDGED = "The export was given no films to judge the file on."
_RUN_FACTS = frozenset({"films", "digest", "folds", "fold", "seed", "data", "data_licence"})


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a guideline asks, and the answer.

    `answer` may name `facts` in braces. `ours`: it holds of networks that this project trained on the public data
    set, and of no other.
    """

    number: str
    asks: str
    status: Status
    answer: str
    ours: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """An item's answer for one model."""

    number: str
    asks: str
    status: Status
    words: str


def answer(item: Item, known: Mapping[str, str], *, trained_here: bool) -> Answer:
    """The answer of `item` from the `facts` that are known; unknown, with the reason, where they are not there."""
    fields = [name for _, name, _, _ in Formatter().parse(item.answer) if name]
    if (item.ours and not trained_here) or any(name in _RUN_FACTS - known.keys() for name in fields):
        return Answer(item.number, item.asks, "unknown", TRAINED_ELSEWHERE)
    if any(name not in known for name in fields):
        return Answer(item.number, item.asks, "unknown", NOT_JUDGED)
    return Answer(item.number, item.asks, item.status, item.answer.format_map(known))


def facts(manifest: Manifest, report: str) -> dict[str, str]:
    """What a manifest says, in words, by the name under which answers call for it.

    Args:
        manifest: of the file that the answers are about.
        report: how to name the page with the figures as pictures.
    """
    known = {
        "report": report,
        "architecture": manifest.architecture,
        "size": str(manifest.input_size),
        "threshold": f"{manifest.threshold.value:.4f}",
        "rule": manifest.threshold.rule,
        "licence": manifest.licence,
        "use": manifest.intended_use,
        "libraries": ", ".join(f"{name} {version}" for name, version in manifest.training.libraries.items())
        or "Not told",
        "doubt": _doubt(manifest),
    }
    training = manifest.training
    if training.data:
        known |= {
            "data": f"{training.data.name}: {training.data.source}",
            "data_licence": training.data.licence,
            "films": f"{training.data.films:,}",
            "digest": f"`{training.data.films_sha256}`",
            "fold": str(training.held_out_fold),
            "folds": str(training.folds),
            "seed": str(training.seed),
        }
    calibration = manifest.calibration
    if calibration.prevalence is not None:
        known["calibration"] = _calibration(manifest)
        known["prevalence"] = f"{calibration.prevalence:.1%}"
    for evaluation in manifest.evaluation.values():
        known |= _figures(evaluation)
        break
    return known


def _figures(evaluation: Evaluation) -> dict[str, str]:
    normal, pneumonia = evaluation.normal, evaluation.pneumonia
    slices = {
        name: f"{figure_name(name)} {with_interval(value)}" for name, value in evaluation.slices.items()
    }
    style = [told for name, told in slices.items() if "hard" in name or "style" in name]
    return {
        "judged": f"{normal} normal and {pneumonia} pneumonia films of {evaluation.patients} patients",
        "auc": with_interval(evaluation.auc),
        "sensitivity": with_interval(evaluation.sensitivity),
        "specificity": with_interval(evaluation.specificity),
        "missed": str(evaluation.false_negatives),
        "false_alarms": str(evaluation.false_positives),
        "slices": "; ".join(slices.values()) if slices else "no slice was judged",
        "style": "; ".join(style) if style else "no such slice was judged",
    }


def _calibration(manifest: Manifest) -> str:
    calibration = manifest.calibration
    parts = [f"temperature {calibration.temperature:.3f}"]
    for name, value, before in (
        (
            "expected calibration error",
            calibration.expected_calibration_error,
            calibration.uncalibrated_error,
        ),
        ("Brier score", calibration.brier_score, calibration.uncalibrated_brier_score),
    ):
        if value is not None:
            parts.append(f"{name} {value:.4f}" + (f" (before: {before:.4f})" if before is not None else ""))
    return ", ".join(parts)


def _doubt(manifest: Manifest) -> str:
    asked = []
    if manifest.novelty:
        asked.append("is unlike the training films")
    if manifest.exposure:
        asked.append("is badly exposed")
    if manifest.uncertainty:
        asked.append("has a probability in the uncertainty band")
    if not asked:
        return "no film is marked for a person's review, as the file holds no limit for it"
    return f"a film that {', or '.join(asked)}, is answered and marked for a person's review"


CLAIM_2024 = (
    Item(
        "1",
        "Named as artificial intelligence, and of which kind",
        "reported",
        "Deep learning: a neural network (`{architecture}`) that classifies chest radiographs.",
        ours=False,
    ),
    Item(
        "2",
        "Summary of design, methods, results, conclusions",
        "reported",
        "The first paragraphs of this card and its sections Metrics and Quantitative analyses.",
        ours=False,
    ),
    Item(
        "3",
        "Background, intended use and role",
        "partly",
        "{use} See Intended use. The scientific background is not told here.",
    ),
    Item(
        "4",
        "Aims and hypotheses",
        "reported",
        "To build a model that misses few pneumonias (threshold: {rule}) and to say what its figures do not "
        "show. No hypothesis is tested.",
    ),
    Item("5", "Prospective or retrospective", "reported", "Retrospective: a public collection of films."),
    Item(
        "6",
        "Goal of the study",
        "reported",
        "Development of a diagnostic classifier, judged on held-out films of the same source; no trial.",
    ),
    Item("7", "Where the data are from", "reported", "{data} ({data_licence}); see Training data."),
    Item(
        "8",
        "Who was included and excluded",
        "partly",
        "Every film of the public training split is used, none is left out. The collectors took films of "
        "children of one to five years and removed those of low quality (Kermany et al., 2018); how many is "
        "not told.",
    ),
    Item(
        "9",
        "Preprocessing",
        "reported",
        "Decoded by the service's own decoder to greyscale, upright, squashed to {size} × {size} pixels; "
        "normalised inside the file. Nothing is done by hand.",
    ),
    Item(
        "10",
        "Selection of parts of the data",
        "reported",
        "Fold {fold} of {folds} is held out; the rest is learnt from, but for a few patients that are only "
        "watched. The data set's validation and test folders are not trained on.",
    ),
    Item(
        "11",
        "De-identification",
        "partly",
        "The public films are JPEG files without DICOM headers, named by running numbers. How the collectors took "
        "names off is not described.",
    ),
    Item(
        "12",
        "Missing data",
        "reported",
        "No film lacks a label; a film that cannot be read stops the training and is named. Age, sex and "
        "severity are missing for all, and so are in no figure.",
    ),
    Item(
        "13",
        "How the images were taken",
        "partly",
        "Frontal (anterior–posterior) chest films of routine care in one hospital. Devices, exposure and "
        "dates are not told.",
    ),
    Item(
        "14",
        "How the reference standard was obtained",
        "reported",
        "Readers' grading of each film as normal, bacterial or viral pneumonia (Kermany et al., 2018).",
    ),
    Item(
        "15",
        "Why that reference standard",
        "partly",
        "It is the only one that comes with the films; culture or follow-up would be better.",
    ),
    Item(
        "16",
        "Who annotated",
        "partly",
        "Two physicians graded each film (Kermany et al., 2018). Their names and years of experience are not "
        "told.",
    ),
    Item(
        "17",
        "Annotation of the test films",
        "partly",
        "The figures here are of held-out films of the training split, graded by two. A third expert checked "
        "the official test split only, of which no figure is in this card.",
    ),
    Item(
        "18",
        "Variability between and within readers",
        "unknown",
        "The collectors give one label a film, and no agreement of the readers.",
    ),
    Item(
        "19",
        "How data were assigned to partitions",
        "reported",
        "By {folds} folds stratified by kind (seed {seed}): one held out, the others learnt from, 6 % of "
        "their patients watched.",
    ),
    Item(
        "20",
        "Level at which partitions are disjoint",
        "reported",
        "Patient: films of one patient number or of identical bytes are never parted, followed through "
        "chains.",
    ),
    Item(
        "21",
        "Intended sample size of the test films",
        "not done",
        "No calculation: all films of the fold. The intervals show what they allow to say.",
    ),
    Item(
        "22",
        "The model in detail",
        "reported",
        "`{architecture}` on {size} × {size} pixels, two logits on pooled features (pneumonia; bacterial "
        "given pneumonia); the code is `training/architectures.py`, the file is an open ONNX graph.",
    ),
    Item("23", "Software", "reported", "{libraries}.", ours=False),
    Item(
        "24",
        "Where the weights start",
        "reported",
        "At random, unless the training command under Model details names `--weights`; then from there.",
    ),
    Item(
        "25",
        "Details of training",
        "reported",
        "The command under Model details holds every choice that is not a default, `training/recipe.py` the "
        "defaults; `docs/training.md` explains them.",
    ),
    Item(
        "26",
        "How the final model was chosen",
        "reported",
        "The running average of the weights: of the fine-tuning epoch with the least loss on the watched films, "
        "or of the last epoch where nothing was fine-tuned. Choices of the recipe were made by figures of the "
        "held-out folds 0 and 1 (`docs/ablations.md`).",
    ),
    Item(
        "27",
        "Ensembling",
        "not applicable",
        "One network answers. Where the training command names `--soft-labels`, it learnt from other networks' "
        "probabilities as well.",
    ),
    Item(
        "28",
        "Metrics",
        "reported",
        "Sensitivity first, for a miss is the worse error; specificity, AUC, precision, calibration. See "
        "Metrics.",
        ours=False,
    ),
    Item(
        "29",
        "Significance and uncertainty",
        "reported",
        "95 % percentile bootstrap intervals over 1,000 resamples of patients, on {judged}. Calibration error and "
        "Brier score have none. No test of significance.",
        ours=False,
    ),
    Item(
        "30",
        "Robustness",
        "partly",
        "Films on which the style of acquisition misleads are judged apart ({style}), and so are the same films "
        "restyled and reframed (see Quantitative analyses); pictures that are no ordinary chest film are in "
        "{report}. Other devices and hospitals were not tried.",
    ),
    Item(
        "31",
        "Explainability, and how it was checked",
        "reported",
        "A class activation map: its mean is the pneumonia logit before temperature. Deletion, insertion, "
        "randomised weights and Grad-CAM are in {report}, which says so if they were left out. It was not held "
        "against readers' marks.",
    ),
    Item(
        "32",
        "Evaluation on internal data",
        "reported",
        "{judged} that no weight was fitted to. Calibration, threshold, band and novelty's limit were, and "
        "choices of the recipe and between runs may have been made by their figures.",
    ),
    Item("33", "Testing on external data", "not done", "No film of another hospital was at hand."),
    Item("34", "Registration as a trial", "not applicable", "No trial."),
    Item(
        "35",
        "Numbers included and excluded",
        "reported",
        "{films} films learnt from or watched, {judged} held out; none excluded here. A table by part is in "
        "{report}.",
    ),
    Item(
        "36",
        "Characteristics of the cases in each part",
        "partly",
        "Counts by class and kind are in {report}. Age and sex of each film are unknown: the data set does "
        "not hold them.",
    ),
    Item(
        "37",
        "Performance with uncertainty",
        "reported",
        "AUC {auc}; sensitivity {sensitivity} and specificity {specificity} at the threshold of {threshold}. "
        "All under Quantitative analyses.",
        ours=False,
    ),
    Item(
        "38",
        "Diagnostic accuracy and its precision",
        "reported",
        "Every figure but those of calibration has its interval, and so has every slice: {slices}.",
        ours=False,
    ),
    Item(
        "39",
        "Failures",
        "reported",
        "{missed} pneumonia films missed, {false_alarms} false alarms; which sorts they are is in {report}. "
        "See Caveats.",
    ),
    Item("40", "Limitations", "reported", "See Caveats and recommendations.", ours=False),
    Item(
        "41",
        "Implications for practice",
        "reported",
        "None is shown: no reader and no patient was studied. It is meant as a second look for a reader, who "
        "decides.",
    ),
    Item(
        "42",
        "Protocol or further technical details",
        "partly",
        "Only the rule by which choices of the recipe are made was written beforehand, and changed since "
        "(`docs/ablations.md`). `docs/training.md` and {report} hold the details.",
    ),
    Item(
        "43",
        "Availability of software, model, data",
        "reported",
        "Code and files are open ({licence}); the films are public ({data_licence}) and not part of the "
        "repository.",
    ),
    Item("44", "Funding", "unknown", "The project names no funder.", ours=False),
)

TRIPOD_AI = (
    Item(
        "1",
        "Title: development or evaluation, population, outcome",
        "partly",
        "The title names the model alone. Development of a model for pneumonia on chest films of children of one "
        "to five years.",
    ),
    Item(
        "2",
        "Abstract",
        "partly",
        "This card's first paragraphs; there is no structured abstract.",
        ours=False,
    ),
    Item(
        "3a",
        "Context, rationale, existing models",
        "partly",
        "Diagnostic: whether the film shows pneumonia now. Published networks report AUCs of .96–.99 on the "
        "official test split and lose most in specificity there; none is reviewed here.",
    ),
    Item(
        "3b",
        "Population, purpose in the care pathway, users",
        "partly",
        "{use} Users are readers of films and those who study such models. Its place in a care pathway was not "
        "studied.",
    ),
    Item(
        "3c",
        "Known inequalities between groups",
        "unknown",
        "The films come without age, sex, origin or means, so none can be seen or ruled out.",
    ),
    Item("4", "Objectives", "reported", "Development with internal validation; no external validation."),
    Item(
        "5a",
        "Sources of data, why these, whether representative",
        "partly",
        "Films of routine care, taken because they are open ({data}). Developed and judged on parts of the "
        "same source. Not representative: one hospital, a prevalence of {prevalence}.",
    ),
    Item("5b", "Dates", "unknown", "The data set does not tell when the chest films were taken."),
    Item(
        "6a",
        "Setting and centres",
        "reported",
        "One hospital: Guangzhou Women and Children's Medical Center (Kermany et al., 2018).",
    ),
    Item(
        "6b",
        "Eligibility",
        "partly",
        "Children of one to five years with a film of routine care; low quality was removed by the "
        "collectors. Nothing else is told.",
    ),
    Item("6c", "Treatments", "unknown", "The data set tells no treatment."),
    Item(
        "7",
        "Data preparation and quality checks",
        "reported",
        "As CLAIM 9, the same for every film; groups cannot be compared, as they are unknown.",
    ),
    Item(
        "8a",
        "Outcome and time horizon",
        "reported",
        "Pneumonia on this film, as graded by readers; no horizon. Whether grading was even across groups is "
        "unknown.",
    ),
    Item(
        "8b",
        "Who assessed the outcome",
        "partly",
        "Two physicians; their experience and demographics are not told.",
    ),
    Item(
        "8c",
        "Blinding of the outcome's assessment",
        "unknown",
        "The collectors do not say what graders knew.",
    ),
    Item(
        "9a",
        "Choice of predictors",
        "not applicable",
        "The film's pixels are the only predictor; none was selected.",
        ours=False,
    ),
    Item(
        "9b",
        "Definition of predictors",
        "reported",
        "Grey levels of the decoded film at {size} × {size} pixels, the same decoder in training and "
        "service.",
        ours=False,
    ),
    Item(
        "9c",
        "Who assessed the predictors",
        "not applicable",
        "No one reads them off: they are pixels.",
        ours=False,
    ),
    Item(
        "10",
        "Sample size",
        "not done",
        "All films of the public training split: {films} to learn from or watch, {judged} held out. No "
        "calculation.",
    ),
    Item(
        "11", "Missing data", "reported", "As CLAIM 12: no pixel and no label is missing, no film is omitted."
    ),
    Item(
        "12a",
        "How data were used and partitioned",
        "reported",
        "Fold {fold} of {folds} (seed {seed}) is held out for calibration, threshold, band, novelty's limit and "
        "figures; the rest is learnt from or watched.",
    ),
    Item(
        "12b",
        "Handling of predictors",
        "reported",
        "Normalised inside the network; augmented in training as the recipe says (`docs/training.md`).",
    ),
    Item(
        "12c",
        "Type of model, building, tuning, internal validation",
        "reported",
        "Convolutional network `{architecture}`; steps in `docs/training.md`; choices were made by figures of the "
        "held-out folds 0 and 1 (`docs/ablations.md`); one held-out fold, patients kept together.",
    ),
    Item(
        "12d",
        "Heterogeneity across clusters",
        "not applicable",
        "One hospital, so there are no clusters to compare.",
    ),
    Item(
        "12e",
        "Measures and plots",
        "reported",
        "Discrimination, operating points and slices, each with its interval; calibration error and Brier score "
        "without; plots are in {report}. Clinical utility was not measured.",
    ),
    Item(
        "12f",
        "Updating after the evaluation",
        "reported",
        "Temperature and bias, fitted on the held-out fold; their own figures are crossed by patient.",
    ),
    Item(
        "12g",
        "How predictions were calculated",
        "reported",
        "By the ONNX file itself, read by the service's engine: `docs/model_file.md` shows the five lines.",
        ours=False,
    ),
    Item(
        "13",
        "Class imbalance",
        "reported",
        "As the training command's `--balance` says (by default both classes weigh the same in the loss); "
        "the probabilities are recalibrated to the prevalence of the held-out fold ({prevalence}).",
    ),
    Item(
        "14",
        "Fairness",
        "not done",
        "Not possible: no group of patients is known. The slices by style of acquisition are no substitute.",
    ),
    Item(
        "15",
        "Output and threshold",
        "reported",
        "A probability from 0 to 1, and PNEUMONIA from {threshold} on: {rule}.",
        ours=False,
    ),
    Item(
        "16",
        "Differences between development and evaluation data",
        "reported",
        "None by design: parts of one source. That is the chief limit of the figures.",
    ),
    Item(
        "17",
        "Ethical approval",
        "partly",
        "The collectors report approval by their institutional review board (Kermany et al., 2018). This "
        "project used public films and asked for none.",
    ),
    Item("18a", "Funding", "unknown", "The project names no funder.", ours=False),
    Item("18b", "Conflicts of interest", "unknown", "None is declared, and none was asked for."),
    Item("18c", "Protocol", "not done", "No protocol was prepared; see CLAIM 42."),
    Item("18d", "Registration", "not done", "Not registered."),
    Item(
        "18e",
        "Data sharing",
        "reported",
        "The films are public: {data} ({data_licence}); SHA-256 over the list of those trained on: {digest}.",
    ),
    Item("18f", "Code sharing", "reported", "All code is in this repository ({licence})."),
    Item("19", "Patient and public involvement", "not done", "There was none."),
    Item(
        "20a",
        "Flow of participants",
        "reported",
        "{films} films learnt from or watched; {judged} held out. By part and kind in {report}; there is no "
        "follow-up.",
    ),
    Item(
        "20b",
        "Characteristics of participants",
        "partly",
        "Age, sex, treatment and dates of each film are not in the data set; counts by class and kind are in "
        "{report}.",
    ),
    Item(
        "20c",
        "Evaluation against development data",
        "partly",
        "Classes and kinds are stratified, so that their shares agree ({report}); nothing else can be "
        "compared.",
    ),
    Item(
        "21",
        "Participants and events in each analysis",
        "reported",
        "{films} films for development; {judged} for calibration, threshold and every figure.",
    ),
    Item(
        "22",
        "The full model",
        "reported",
        "The ONNX file is the full model ({licence}), free to use, with its pre- and post-processing inside.",
    ),
    Item(
        "23a",
        "Performance with intervals and subgroups",
        "partly",
        "AUC {auc}, sensitivity {sensitivity}, specificity {specificity}; slices: {slices}. No "
        "sociodemographic group is known.",
    ),
    Item("23b", "Heterogeneity across clusters", "not applicable", "Not examined: one hospital."),
    Item("24", "Results of updating", "reported", "Calibration: {calibration}.", ours=False),
    Item(
        "25",
        "Interpretation",
        "partly",
        "On films like those that it learnt from: sensitivity {sensitivity}, specificity {specificity}. On those "
        "where style misleads: {style}. What that means for other hospitals and for fairness cannot be judged.",
    ),
    Item("26", "Limitations", "reported", "See Caveats and recommendations.", ours=False),
    Item(
        "27a",
        "Poor or unavailable input",
        "reported",
        "An unreadable upload is refused; {doubt}.",
        ours=False,
    ),
    Item(
        "27b",
        "Users' part and expertise",
        "reported",
        "The user uploads a film; nothing is entered by hand. A reader of chest films must judge the answer.",
        ours=False,
    ),
    Item(
        "27c",
        "Next steps",
        "reported",
        "Films of other hospitals, ages and devices with a better reference standard and known groups; then "
        "a study of readers with and without it.",
    ),
)
