"""A campaign of a few seconds, by the command line, on the real service with a tiny model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.engine.classifier import Classifier
from app.imaging import read
from benchmarks import bare, films, tiny
from tests.shipping.repository import ROOT


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    options = {
        "--films": folder / "films",
        "--models": folder / "models",
        "--folder": folder / "bench",
        "--page": folder / "performance.md",
        "--pictures": folder / "images",
        "--targets": "pneumoscope,bare",
        "--seconds": "0.5",
        "--rounds": "1",
        "--requests": "50",
    }
    words = [str(word) for pair in options.items() for word in pair]
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "benchmarks", *words, *command],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, a few films, and a page to fill."""
    made = tmp_path_factory.mktemp("campaign")
    tiny.write(made / "models")
    (made / "films").mkdir()
    for seed in range(3):
        (made / "films" / f"{seed}.jpg").write_bytes(films.draw(800, 600, seed=seed))
    (made / "performance.md").write_text((ROOT / "docs" / "performance.md").read_text())
    return made


def test_the_tiny_models_probability_is_the_mean_grey_level(folder: Path) -> None:
    classifier = Classifier.open_file(folder / "models" / "model.onnx")
    radiograph = read(films.draw(300, 200), size=classifier.input_size)
    (finding,) = classifier.classify([radiograph])
    assert not isinstance(finding, Exception)
    assert finding.probability == pytest.approx(radiograph.pixels.mean() / 255, abs=1e-5)


def test_a_comparison_measures_the_service_and_the_bare_loop_and_fills_the_page(folder: Path) -> None:
    ended = run(folder, "compare")
    assert ended.returncode == 0, ended.stderr
    row = json.loads((folder / "bench" / "rows" / "compare" / "0-pneumoscope.json").read_text())
    assert row["difference"] < 0.001
    assert row["start_seconds"] > 0
    assert list(row["loads"]) == ["closed-1", "closed-8", "closed-32", "open-0.9", "open-10"]
    for name in ("closed-1", "closed-8", "closed-32"):
        assert set(row["loads"][name]["statuses"]) == {"200"}
        assert row["loads"][name]["processor_seconds"] > 0
    bare_row = json.loads((folder / "bench" / "rows" / "compare" / "0-bare.json").read_text())
    assert all(rate["films_a_second"] > 0 for rate in bare_row["limits"].values())
    page = (folder / "performance.md").read_text()
    assert "| **Pneumoscope** |" in page
    assert (folder / "images" / "compare.png").is_file()


def test_a_campaign_goes_on_where_it_was_and_measures_nothing_twice(folder: Path) -> None:
    rows = sorted((folder / "bench" / "rows" / "compare").glob("*.json"))
    before = [row.stat().st_mtime_ns for row in rows]
    assert len(rows) == 2
    ended = run(folder, "compare")
    assert ended.returncode == 0, ended.stderr
    assert [row.stat().st_mtime_ns for row in rows] == before


def test_a_soak_and_a_profile_are_measured(folder: Path) -> None:
    for part in ("soak", "stages"):
        ended = run(folder, part)
        assert ended.returncode == 0, ended.stderr
    (row,) = (folder / "bench" / "rows" / "soak").glob("*.json")
    assert json.loads(row.read_text())["statuses"] == {"200": 50}
    profile = json.loads((folder / "bench" / "rows" / "stages" / "0-1.json").read_text())
    assert {"decode", "queue", "inference", "encode"} <= set(profile["stages"])
    assert sum(profile["stages"].values()) < profile["request"]


def test_other_films_are_another_campaign(folder: Path) -> None:
    extra = folder / "films" / "extra.jpg"
    extra.write_bytes(films.draw(100, 100))
    try:
        ended = run(folder, "page")
    finally:
        extra.unlink()
    assert ended.returncode == 2
    assert "films_sha256" in ended.stderr


def test_an_unknown_target_is_told_in_words(folder: Path) -> None:
    ended = run(folder, "--targets", "nonesuch", "compare")
    assert ended.returncode == 2
    assert "nonesuch" in ended.stderr


def test_the_bare_parts_give_figures(folder: Path) -> None:
    model, sent = folder / "models" / "model.onnx", films.load(folder / "films")
    assert bare.loop(model, sent, 0.1, loops=2).films_a_second > 0
    decoding = bare.decoding(sent, 32, rounds=2)
    assert 0 < decoding.scaled < decoding.full
    (milliseconds,) = bare.sessions([model], 2, 0.05)
    engine = bare.engine(model, 4, 0.1)
    assert milliseconds > 0
    assert (engine.batch, engine.session > 0, engine.engine > 0) == (4, True, True)
