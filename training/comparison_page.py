"""A comparison as a page, in HTML and in Markdown from the same parts."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.engine.manifest import Estimate, Evaluation
from training import web_page
from training.architectures import ARCHITECTURES
from training.comparison import Comparison, Trained
from training.comparison_figures import PICTURES, drawings
from training.judgement import Judgement
from training.web_page import Content, Element, element
from training.wording import table, with_interval


@dataclass(frozen=True, slots=True)
class Rows:
    """A table; the first cell of a row is its head."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture by its file name."""

    name: str


Part = str | Rows | Picture
"""A paragraph (words between backticks are code), a table or a picture."""

TITLE = "Networks compared"


def write(found: Comparison, folder: Path) -> None:
    """`index.html`, its pictures and `comparison.json` into `folder`."""
    for name, draw in drawings(found).items():
        draw(folder / name)
    (folder / "comparison.json").write_text(found.model_dump_json(indent=1) + "\n")
    (folder / "index.html").write_text(as_html(found), encoding="utf-8")


def publish(found: Comparison, page: Path, pictures: Path) -> None:
    """The page in Markdown into `page`; its pictures and numbers, without each film's score, into `pictures`."""
    pictures.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        (pictures / name).unlink(missing_ok=True)
    for name, draw in drawings(found).items():
        draw(pictures / name)
    numbers = found.model_dump_json(
        indent=1, exclude={"labels": True, "networks": {"__all__": {"judgement": {"scores"}}}}
    )
    (pictures / "comparison.json").write_text(numbers + "\n")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(as_markdown(found, Path(os.path.relpath(pictures, page.parent))))


def as_html(found: Comparison) -> str:
    """The page in HTML, for a folder that holds its pictures."""
    header = element("header", element("h1", TITLE), *(_html(part) for part in _introduction(found)))
    sections = [
        web_page.section(title, *(_html(part) for part in parts)) for title, parts in _sections(found).items()
    ]
    return web_page.page(TITLE, header, sections)


def as_markdown(found: Comparison, pictures: Path) -> str:
    """The page in Markdown, for a file beside which `pictures` is the folder of its pictures."""
    parts = [f"# {TITLE}", "_Written by the command below; not edited by hand._"]
    parts += [_markdown(part, pictures) for part in _introduction(found)]
    for title, content in _sections(found).items():
        parts += [f"## {title}", *(_markdown(part, pictures) for part in content)]
    return "\n\n".join(parts) + "\n"


def _introduction(found: Comparison) -> list[Part]:
    recipe = found.recipe
    start = "random initialisation" if recipe.weights == "none" else f"`{recipe.weights}` weights"
    sizes = ", then ".join(
        f"{stage.epochs} epoch{'s' if stage.epochs > 1 else ''} at {stage.size} × {stage.size}, "
        f"{stage.batch_size} films a batch"
        for stage in recipe.stages
    )
    tuned = f", then {recipe.fine_tune_epochs} of the top {recipe.fine_tune_layers} layers"
    return [
        f"{len(found.networks)} networks of the registry, each trained from {start} by one recipe with one "
        f"budget, and judged on the same {found.held_out_films:,} films, fold {recipe.held_out_fold} of "
        f"{recipe.folds}, of patients that none has seen. The data set has {found.films:,} films of "
        f"{found.patients:,} patient numbers.",
        f"Recipe: {sizes}{tuned if recipe.fine_tune_epochs else ''}; {recipe.optimizer}, peak rate "
        f"{recipe.learning_rate:g}, schedule {recipe.schedule}, loss {recipe.loss}, balance "
        f"{recipe.balance}, augmentation {recipe.augmentation}, {recipe.precision}, seed {recipe.seed}; "
        "weights averaged.",
        f"Made by `{found.command}` on {found.machine}; "
        + ", ".join(f"{name} {version}" for name, version in found.libraries.items())
        + ".",
    ]


def _sections(found: Comparison) -> dict[str, list[Part]]:
    shown: dict[str, list[Part]] = {"What it shows": [*_shown(found)]}
    shown["Figures"] = [
        Rows(
            "On the held-out fold, each network at its own threshold: the largest whose sensitivity's "
            "lower bound reaches 0.95",
            (
                *("network", "accuracy", "precision", "recall", "F1", "AUC", "specificity"),
                *("specificity, hard normal", "parameters", "file", "GFLOPs", "latency", "training"),
            ),
            [_row(found, network) for network in found.networks],
        ),
        "*Hard normal*: normal films whose style alone, an 8 × 8 thumbnail, looks like pneumonia. File and "
        "latency: as exported, in half precision, one film at a time on the CPU by the service's own "
        f"engine, median. Parameters, GFLOPs and latency are of films of {found.recipe.input_size} px. "
        "Training: processor time over all cores.",
    ]
    if found.judged:
        shown["Curves"] = [Picture("roc.png"), Picture("precision_recall.png")]
        shown["Accuracy against latency"] = [Picture("accuracy_latency.png")]
        shown["Confusion matrices"] = [Picture("confusion_matrices.png")]
    shown["Learning"] = [Picture("learning_curves.png")]
    if found.judged:
        shown["With intervals"] = [_with_intervals(found)]
        shown["In the style and shape of the other class"] = [
            "The same films, tone and sharpness taken from a film of the other class, or cropped to the "
            "shape of that class, at the same threshold. What falls here leans on how films were taken.",
            _changed(found),
        ]
    shown["The networks"] = [_registry(found)]
    shown["What this does not say"] = [_limits(found)]
    return shown


def _shown(found: Comparison) -> list[str]:
    said = []
    if found.judged:
        best, judgement = max(found.judged, key=lambda pair: pair[1].evaluation.auc.value)
        said.append(f"Highest AUC: `{best.architecture}`, {with_interval(judgement.evaluation.auc)}.")
    if found.differences:
        said.append(
            "The others against it, on the same resamples of the patients: "
            + "; ".join(
                f"`{name}` {difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"
                for name, difference in sorted(found.differences.items(), key=lambda item: -item[1].value)
            )
            + ". An interval that holds zero does not tell the two apart."
        )
    share = max(np.mean(found.labels), 1 - np.mean(found.labels)) if found.labels else 1.0
    for network, judgement in found.judged:
        accuracy = judgement.evaluation.accuracy
        if network.outcome == "learnt" and accuracy.low <= share:
            said.append(
                f"`{network.architecture}` has hardly learnt: calling every film the same would be right in "
                f"{share:.3f} of them, and it is in {with_interval(accuracy, 3)}."
            )
    for network in found.networks:
        if network.outcome == "did not learn":
            said.append(
                f"`{network.architecture}` did not learn by this recipe: its AUC's interval holds one half. "
                "That is a result, not a fault of the network: another rate, more epochs or published "
                "weights may do it."
            )
        elif network.outcome == "learnt the reverse":
            said.append(
                f"`{network.architecture}` calls normal what is pneumonia more often than not: its AUC's "
                "interval lies below one half."
            )
        elif network.outcome == "diverged":
            said.append(f"`{network.architecture}` diverged: its loss became no number. It has no figures.")
    said += [f"`{name}` could not be exported: {why}" for name, why in found.not_exported.items()]
    said += [f"`{name}` is left out: {why}" for name, why in found.left_out.items()]
    return said


def _row(found: Comparison, network: Trained) -> list[str]:
    cost = found.cost(network.architecture)
    costs = [
        f"{network.parameters / 1e6:.2f} M",
        f"{cost.file_bytes / 2**20:.1f} MiB" if cost else "–",
        f"{network.gflops:.2f}",
        f"{cost.milliseconds:.1f} ms" if cost else "–",
        f"{network.processor_seconds / 60:.1f} min",
    ]
    if network.judgement is None:
        return [f"`{network.architecture}`", *["diverged"] * 7, *costs]
    figures = network.judgement.evaluation
    shown = (
        figures.accuracy,
        figures.precision,
        figures.sensitivity,
        figures.f1,
        figures.auc,
        figures.specificity,
    )
    hard = figures.slices.get("specificity_hard_normal")
    values = [f"{each.value:.3f}" for each in shown]
    return [f"`{network.architecture}`", *values, f"{hard.value:.3f}" if hard else "–", *costs]


def _with_intervals(found: Comparison) -> Rows:
    head = (
        "network",
        "accuracy",
        "precision",
        "recall",
        "F1",
        "AUC",
        "average precision",
        "specificity",
        "threshold",
    )

    def row(network: Trained, judgement: Judgement) -> list[str]:
        return [
            f"`{network.architecture}`",
            *(with_interval(each, 3) for each in _main(judgement.evaluation)),
            f"{judgement.threshold:.3f}",
        ]

    return Rows("95 % intervals, patients resampled", head, [row(*pair) for pair in found.judged])


def _main(figures: Evaluation) -> tuple[Estimate, ...]:
    return (
        *(figures.accuracy, figures.precision, figures.sensitivity, figures.f1),
        *(figures.auc, figures.average_precision, figures.specificity),
    )


def _changed(found: Comparison) -> Rows:
    def row(network: Trained, judgement: Judgement) -> list[str]:
        changed = (judgement.restyled, judgement.reframed)
        cells = [with_interval(each, 3) for figures in changed for each in (figures.auc, figures.specificity)]
        return [f"`{network.architecture}`", *cells]

    head = ("network", "AUC, restyled", "specificity, restyled", "AUC, reframed", "specificity, reframed")
    return Rows("95 % intervals, patients resampled", head, [row(*pair) for pair in found.judged])


def _registry(found: Comparison) -> Rows:
    rows = []
    for network in found.networks:
        architecture = ARCHITECTURES[network.architecture]
        rows.append(
            [
                f"`{network.architecture}`",
                architecture.source,
                "none: it flattens its maps" if architecture.flattens else "yes",
                f"{network.seconds / 60:.1f} min",
                network.outcome,
            ]
        )
    return Rows(
        "Training by the clock, which other work on the machine lengthens",
        ("network", "source", "heat map", "training, clock", "outcome"),
        rows,
    )


def _limits(found: Comparison) -> str:
    size = found.recipe.input_size
    return (
        f"One run of each network, on films of {size} px (the shipped model sees 224), with one learning "
        "rate and one budget for all: what learns fast looks better than it would with time, and "
        "what needs another rate looks worse. "
        + (
            "From random initialisation; most published work on these films begins with ImageNet weights, "
            "which the same command takes by `--weights imagenet` wherever they can be downloaded. "
            if found.recipe.weights == "none"
            else ""
        )
        + "Calibration and threshold are fitted on the fold that they are judged on, so that all but AUC "
        "and average precision flatter a little, and the best of several networks on one fold is partly "
        "luck. The fold is of the same data set: nothing here tells how a network does in another hospital."
    )


def _html(part: Part) -> Element:
    if isinstance(part, Rows):
        rows = [[cell.strip("`") for cell in row] for row in part.rows]
        return web_page.table(part.caption, part.head, rows)
    if isinstance(part, Picture):
        caption = PICTURES[part.name]
        return element("figure", element("img", src=part.name, alt=caption), element("figcaption", caption))
    pieces = part.replace("*", "").split("`")
    content: list[Content] = [
        element("code", piece) if number % 2 else piece for number, piece in enumerate(pieces)
    ]
    return element("p", *content)


def _markdown(part: Part, pictures: Path) -> str:
    if isinstance(part, Rows):
        return f"{part.caption}.\n\n{table(part.head, part.rows)}"
    if isinstance(part, Picture):
        caption = PICTURES[part.name]
        return f"![{caption}]({(pictures / part.name).as_posix()})\n\n{caption}"
    return part
