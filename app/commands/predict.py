"""`predict`: films judged on this machine, without a server."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.opening import MODEL_REFUSED, load_classifier, load_settings, refuse
from app.engine.errors import DeviceFailed
from app.telemetry import logs

if TYPE_CHECKING:
    from app.local.judging import Judgement

NOT_ALL_JUDGED = 3
FOUND_WHAT_FAILS = 4


class FailOn(StrEnum):
    """What `predict` can be told to end with an exit code of its own for."""

    PNEUMONIA = "pneumonia"
    REVIEW = "review"


def predict(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Films, folders of films, or - for standard input."),
    ],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Go into folders inside folders.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a film, as soon as it is judged, in order.")
    ] = False,
    heatmap: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write each film with its heat map over it into this folder."),
    ] = None,
    fail_on: Annotated[
        list[FailOn] | None,
        typer.Option(help="Exit with 4 if a film is labelled PNEUMONIA, or asks for review; repeatable."),
    ] = None,
) -> None:
    """Judge films on this machine, without a server.

    \b
    Exit codes:
    0  every film was judged
    1  the model is refused, or the device does not run it
    2  a setting or an argument is wrong, or there is no film
    3  some film could not be judged; the others were
    4  every film was judged, and what --fail-on names was found
    """
    from app.local import films, judging, report

    chosen = load_settings()
    logs.configure("error")
    found = films.find(files, recursive=recursive, max_bytes=chosen.max_upload_bytes)
    if found.left_out:
        typer.echo(f"Left out, since they are no films: {found.left_out} of the folders' files.", err=True)
    if not found.films:
        hint = "" if recursive else "; --recursive goes into folders inside folders"
        raise typer.BadParameter(f"there is no film in what is named{hint}.")
    classifier = load_classifier(chosen)
    if heatmap is not None and not classifier.has_heatmap:
        raise typer.BadParameter("this model has no heat map.", param_hint="--heatmap")
    judgements: list[judging.Judgement] = []
    bar = report.progress(hidden=len(found.films) == 1 or (as_json and sys.stdout.isatty()))
    task = bar.add_task("", total=len(found.films))

    def note(judgement: judging.Judgement) -> None:
        judgements.append(judgement)
        bar.advance(task)
        if as_json:
            typer.echo(report.json_line(judgement))

    places = None if heatmap is None else films.heatmap_places(found.films, heatmap)
    try:
        with bar:
            judging.judge(chosen, classifier, found.films, heatmaps=places, on_judgement=note)
    except DeviceFailed as error:
        refuse(error, MODEL_REFUSED)
    finally:
        if judgements and not as_json:
            report.show(judgements, classifier)
    _exit_by(judgements, set(fail_on or ()))


def _exit_by(judgements: Sequence["Judgement"], fail_on: set[FailOn]) -> None:
    """End with the code of the worst outcome, if it is not that all is well."""
    found = set()
    for judgement in judgements:
        if judgement.prediction is None:
            raise typer.Exit(NOT_ALL_JUDGED)
        if judgement.prediction.label == "PNEUMONIA":
            found.add(FailOn.PNEUMONIA)
        if judgement.prediction.review:
            found.add(FailOn.REVIEW)
    if found & fail_on:
        raise typer.Exit(FOUND_WHAT_FAILS)
