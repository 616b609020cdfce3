"""What became of each film: as a table for the eye, or as JSON lines for programs."""

import json
import os
import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from app.engine.classifier import Classifier
from app.local.films import as_text
from app.local.judging import Judged, Judgement, NotJudged

CAUTION = (
    "For research and teaching: a reader decides. "
    "NORMAL means below the threshold; it does not rule pneumonia out."
)

_WIDTH = 120


def json_line(judgement: Judgement) -> str:
    """A prediction with the fields of the service's answer, or a problem; with the file's name first."""
    fields: dict[str, object] = {"file": judgement.film.name}
    if isinstance(judgement, Judged):
        fields |= judgement.prediction.model_dump(mode="json")
        if judgement.heatmap is not None:
            fields["heatmap"] = as_text(judgement.heatmap)
    else:
        fields |= {"code": judgement.code, "title": judgement.title, "detail": judgement.detail}
    return json.dumps(fields)


def show(judgements: Sequence[Judgement], classifier: Classifier) -> None:
    """Print the table, and what the films come to."""
    plain = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = Console(width=_WIDTH if plain else None, highlight=False)
    console.print(table(judgements))
    for line in summary(judgements, classifier):
        console.print(Text(line))


def table(judgements: Sequence[Judgement]) -> Table:
    """One row a film."""
    rows = Table("file", "label", box=box.SIMPLE_HEAD, pad_edge=False)
    rows.columns[0].overflow = "fold"
    rows.add_column("probability", justify="right")
    rows.add_column("threshold", justify="right")
    rows.add_column("review", ratio=1)
    for judgement in judgements:
        rows.add_row(Text(_printable(judgement.film.name)), *_cells(judgement))
    return rows


def summary(judgements: Sequence[Judgement], classifier: Classifier) -> list[str]:
    """How many films got which answer, from which model, and what that is worth."""
    predictions = [judgement.prediction for judgement in judgements if judgement.prediction is not None]
    labels = [prediction.label for prediction in predictions]
    reviews = sum(prediction.review for prediction in predictions)
    counts = (
        f"{len(judgements)} {'film' if len(judgements) == 1 else 'films'}: "
        f"{labels.count('PNEUMONIA')} PNEUMONIA, {labels.count('NORMAL')} NORMAL, "
        f"{len(judgements) - len(predictions)} not judged. A person should look at {reviews}."
    )
    manifest = classifier.manifest
    override = ", which overrides the model's own" if classifier.threshold_overridden else ""
    model = (
        f"Model {manifest.name} {manifest.version}, {classifier.precision} on {classifier.provider.name}, "
        f"SHA-256 {classifier.sha256[:12]}…; threshold {classifier.threshold:.4f}{override}."
    )
    return [counts, model, CAUTION]


def progress(*, hidden: bool) -> Progress:
    """A bar on standard error, which is there while films are judged, where that is a terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("judging"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,  # else what is printed would end up on standard error
        redirect_stderr=False,
        disable=hidden or not console.is_terminal,
    )


def _cells(judgement: Judgement) -> tuple[Text, Text, Text, Text]:
    if isinstance(judgement, NotJudged):
        return Text("not judged", "red"), Text("–"), Text("–"), Text(f"{judgement.title}: {judgement.detail}")
    prediction = judgement.prediction
    words = " ".join(reason.words for reason in prediction.reasons)
    return (
        Text(prediction.label, "bold" if prediction.label == "PNEUMONIA" else ""),
        Text(f"{prediction.probability:.4f}"),
        Text(f"{prediction.threshold:.4f}"),
        Text(f"A person should look. {words}", "yellow") if prediction.review else Text("no"),
    )


def _printable(name: str) -> str:
    """A file's name without what would steer a terminal."""
    return "".join(character if character.isprintable() else "�" for character in name)
