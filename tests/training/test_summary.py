import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from model_export.export import Films, export
from training import slices
from training.architectures import PNEUMONIA
from training.dataset import Dataset
from training.evaluate import conclude
from training.fit import fit, partition, predict_logits
from training.metrics import Scored
from training.recipe import Recipe, Stage
from training.summary import Effort, ReportError, Sources, crossed_band, write_report


def silent(_: str) -> None:
    return None


@pytest.fixture
def sources(films: Dataset, recipe: Recipe, tmp_path: Path) -> Sources:
    """A finished run of the small network and its files."""
    return finish(films, recipe, tmp_path)


def finish(films: Dataset, recipe: Recipe, folder: Path) -> Sources:
    """A finished run in `folder` and its files, at a threshold that parts its films in half."""
    run, models = folder / "run", folder / "models"
    marked = slices.mark(films)
    network = fit(marked, recipe, run, Console(quiet=True))
    conclusion = conclude(
        network, marked, recipe, run, command="python -m training fit --data DIR", libraries={"keras": "3"}
    )
    parts = partition(marked, recipe)
    logits = predict_logits(network, parts.held_out.resized(recipe.input_size))[:, PNEUMONIA]
    middle = float(np.median(conclusion.scaling(logits)))
    export(
        run / "model.keras",
        models,
        films=lambda _: Films(held_out=parts.held_out, known=parts.learn),
        preprocess=None,
        threshold=middle,
        name="small",
        version="1",
        report=silent,
    )
    return Sources(models, run, marked)


def test_a_report_holds_every_section_with_the_heat_maps_check(sources: Sources, tmp_path: Path) -> None:
    page, pictures = tmp_path / "docs" / "page.md", tmp_path / "docs" / "pictures"
    effort = Effort(probes=2, heatmap_films=3)
    summary = write_report(sources, page, pictures, "python -m training report", silent, effort=effort)
    text = page.read_text()
    assert re.findall(r"^## (.+)$", text, re.M) == [
        "Telling pneumonia from normal",
        "Slices",
        "Restyled and reframed films",
        "Bacterial or viral",
        "Calibration",
        "The threshold, and choosing another",
        "The uncertainty band and review",
        "int8 against half precision",
        "Novelty",
        "The heat map",
        "How it was trained",
        "Limits",
        "To repeat this",
    ]
    assert summary.heatmap_check is not None
    assert summary.heatmap_check.films == 3
    assert "heatmap_check.png" in text
    assert "`PNEUMOSCOPE_THRESHOLD`" in text
    assert "no external validation" in text
    assert not re.search(r"\b(nan|None)\b", text)
    pictured = {(page.parent / name).resolve() for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)}
    assert pictured == set(pictures.resolve().rglob("*.png"))
    half = summary.files[0]
    assert set(half.changed) == {"restyled", "reframed"}
    assert half.missed.films == half.evaluation.false_negatives
    assert half.false_alarms.films == half.evaluation.false_positives
    assert half.subtypes is not None
    assert half.subtypes.films == half.evaluation.pneumonia
    assert {each.kind for each in half.probes} > {"ordinary films", "blank", "inverted"}
    assert sum(count.films for count in summary.parts.values()) == len(sources.films)


def test_a_network_that_flattens_is_reported_without_a_heat_map(
    films: Dataset, recipe: Recipe, tmp_path: Path
) -> None:
    stages = (Stage(size=32, epochs=1, batch_size=8),)
    flat = recipe.model_copy(
        update={"architecture": "cnn", "input_size": 32, "stages": stages, "fine_tune_epochs": 0}
    )
    sources = finish(films, flat, tmp_path)
    page = tmp_path / "page.md"
    summary = write_report(
        sources, page, tmp_path / "pictures", "python -m training report", silent, effort=Effort(probes=2)
    )
    assert summary.heatmap_check is None
    assert "flattens its feature maps, so that it has no heat map" in page.read_text()
    assert "heatmap" not in page.read_text()
    assert summary.files[0].evaluation.films == len(partition(sources.films, flat).held_out)


def test_what_does_not_belong_together_is_refused(sources: Sources, tmp_path: Path) -> None:
    def report(changed: Sources) -> None:
        write_report(changed, tmp_path / "page.md", tmp_path / "pictures", "", silent)

    with pytest.raises(ReportError, match="no folder of a finished run: it lacks config"):
        report(replace(sources, run=tmp_path))
    with pytest.raises(ReportError, match="not the films that"):
        report(replace(sources, films=sources.films.subset(np.arange(4, len(sources.films)))))
    with pytest.raises(ReportError, match=r"There is no .*model\.onnx"):
        report(replace(sources, models=tmp_path))
    conclusion = json.loads((sources.run / "calibration.json").read_text())
    conclusion["calibration"]["temperature"] += 1e-6
    (sources.run / "calibration.json").write_text(json.dumps(conclusion))
    with pytest.raises(ReportError, match=r"model\.onnx was not exported from this run"):
        report(sources)
    assert not (tmp_path / "page.md").exists()


def test_a_crossed_band_judges_every_film_once_by_other_patients_films() -> None:
    random = np.random.default_rng(0)
    labels = (random.random(1500) < 0.6).astype(np.int64)
    scores = 1 / (1 + np.exp(-(0.5 * (2 * labels - 1) + random.normal(size=1500))))
    inside, below, above = crossed_band(Scored(labels, scores, np.arange(1500) // 3), 0.95)
    assert ((inside.astype(int) + below + above) == 1).all()
    assert below[labels == 1].mean() == pytest.approx(0.05, abs=0.025)
    assert above[labels == 0].mean() == pytest.approx(0.05, abs=0.025)


def test_a_patient_whose_films_are_unlike_the_others_lies_beyond_a_crossed_band() -> None:
    labels = np.tile([0, 1], 100)
    groups = np.arange(200) // 40
    scores = np.where(labels == 1, 0.9, 0.1)
    odd = (groups == 0) & (labels == 1)
    scores[odd] = 0.01
    _, below, above = crossed_band(Scored(labels, scores, groups), 0.9)
    assert np.array_equal(below, odd)
    assert not above[labels == 0].any()
