import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests import radiographs
from tests.radiographs import Pixels
from tests.training.conftest import PATIENTS
from training import dataset, duplicates
from training.exploration import Exploration, overview
from training.exploration_figures import table
from training.explore import explore

NASTY = "person900_bacteria_<b>$x^&quot;.jpeg"


def restyled(seed: int, pneumonia: bool = False) -> Pixels:
    """A film with shading of its own, so that no two are alike as those that only differ in noise are."""
    random = np.random.default_rng(1000 + seed + 500 * pneumonia)
    coarse = Image.fromarray(random.uniform(-90, 90, (9, 9)).astype(np.float32))
    shade = np.asarray(coarse.resize((96, 80), Image.Resampling.BICUBIC))
    film = radiographs.draw(96, 80, seed=seed, opacity=pneumonia) + shade
    pixels: Pixels = np.clip(film, 0, 255).astype(np.uint8)
    return pixels


def show(films: Path, output: Path) -> Exploration:
    return explore(films, output, Console(file=io.StringIO()), fold_count=3, command="the command")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty films in the public layout with every fault that an exploration looks for."""
    root = tmp_path_factory.mktemp("films") / "chest_xray"
    normal, pneumonia = root / "train" / "NORMAL", root / "train" / "PNEUMONIA"
    for of_class in (normal, pneumonia):
        of_class.mkdir(parents=True)
    for number in range(PATIENTS):
        for film in range(2):
            seed = 10 * number + film
            kind = "virus" if number % 3 == 0 else "bacteria"
            (normal / f"IM-{number:04d}-{film:04d}.jpeg").write_bytes(radiographs.jpeg(restyled(seed)))
            dark = restyled(seed, pneumonia=True) // 2
            (pneumonia / f"person{100 + number}_{kind}_{film}.jpeg").write_bytes(radiographs.jpeg(dark))
    shutil.copy(normal / "IM-0000-0000.jpeg", normal / "IM-0500-0000.jpeg")
    shutil.copy(normal / "IM-0001-0000.jpeg", pneumonia / "person1_virus_9.jpeg")
    (pneumonia / NASTY).write_bytes(radiographs.jpeg(restyled(0, pneumonia=True) // 2, quality=50))
    (pneumonia / "person901_bacteria_0.jpeg").write_bytes(b"\xff\xd8\xff no film")
    (pneumonia / "notes.txt").write_text("no film either")
    (root / "test" / "NORMAL").mkdir(parents=True)
    (root / "test" / "PNEUMONIA").mkdir()
    shutil.copy(normal / "IM-0002-0000.jpeg", root / "test" / "NORMAL" / "IM-0700-0000.jpeg")
    (root / "test" / "PNEUMONIA" / "person100_virus_7.jpeg").write_bytes(radiographs.jpeg(restyled(77)))
    (root / "val" / "NORMAL").mkdir(parents=True)
    return root


@pytest.fixture(scope="module")
def output(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("exploration")
    show(folder, place)
    return place


@pytest.fixture(scope="module")
def found(output: Path) -> Exploration:
    return Exploration.model_validate_json((output / "exploration.json").read_text())


def test_films_are_counted_in_every_split_readable_or_not(found: Exploration) -> None:
    train, test = found.splits["train"], found.splits["test"]
    assert (train.films, train.normal, train.pneumonia) == (60, 29, 31)
    assert (train.viral, train.bacterial) == (11, 20)
    assert (test.films, test.normal, test.viral) == (2, 1, 1)
    assert found.not_counted.keys() == {"val"}
    assert "NORMAL holds no" in found.not_counted["val"]
    assert found.films.films == 59
    assert found.films.bacterial == 19


def test_what_splits_share_is_told(found: Exploration) -> None:
    assert found.shared["test"].identical_films == 1
    assert found.shared["test"].patients == 1


def test_a_film_that_cannot_be_read_is_listed_and_left_out(found: Exploration) -> None:
    (unreadable,) = found.unreadable
    assert unreadable.film == "train/PNEUMONIA/person901_bacteria_0.jpeg"
    assert "damaged" in unreadable.reason
    assert found.passed_over == ("train/PNEUMONIA/notes.txt",)


def test_patients_with_several_films_and_in_both_classes_are_found(found: Exploration) -> None:
    patients = found.patients
    assert patients.in_both_classes == ("1",)
    assert patients.films_a_patient == {1: 2, 2: 2 * PATIENTS - 1, 3: 1}
    assert (patients.with_several, patients.most) == (2 * PATIENTS, 3)
    assert patients.patients["all"] == found.films.patients == 2 * PATIENTS + 2


def test_identical_files_are_grouped_and_told_apart_by_what_they_straddle(found: Exploration) -> None:
    same = found.identical
    assert set(same.groups) == {
        ("train/NORMAL/IM-0000-0000.jpeg", "train/NORMAL/IM-0500-0000.jpeg"),
        ("train/NORMAL/IM-0001-0000.jpeg", "train/PNEUMONIA/person1_virus_9.jpeg"),
    }
    assert (same.films, same.across_classes, same.across_patients, same.across_folds) == (4, 1, 1, 0)


def test_a_recompressed_copy_is_a_near_duplicate(found: Exploration) -> None:
    near = found.near
    assert near.groups == (("train/PNEUMONIA/person100_virus_0.jpeg", f"train/PNEUMONIA/{NASTY}"),)
    assert (near.across_classes, near.across_patients) == (0, 1)
    assert set(near.closest[0].films) == set(near.groups[0])
    assert near.closest[0].distance <= near.limit < near.closest[1].distance
    assert sum(near.nearest.values()) == 57  # of 59 films, two are copies to the byte


@pytest.mark.parametrize("change", ["quality", "size", "gamma", "contrast"])
def test_a_copy_is_near_its_film_and_another_film_is_not(change: str) -> None:
    films = np.stack([restyled(seed) for seed in range(6)])
    squares = np.stack([np.asarray(Image.fromarray(film).resize((224, 224))) for film in films])
    changes: dict[str, Callable[[Pixels], Pixels]] = {
        "quality": lambda film: np.asarray(Image.open(io.BytesIO(radiographs.jpeg(film, quality=50)))),
        "size": lambda film: np.asarray(Image.fromarray(film).resize((112, 112)).resize((224, 224))),
        "gamma": lambda film: (255 * (film / 255) ** 0.8).astype(np.uint8),
        "contrast": lambda film: (20 + 0.8 * film).astype(np.uint8),
    }
    changed = np.stack([changes[change](film) for film in squares])
    one, other = duplicates.hashes(squares), duplicates.hashes(changed)
    distances = (one[:, None] != other[None]).sum(axis=2)
    assert np.diag(distances).max() <= duplicates.LIMIT
    assert distances[~np.eye(6, dtype=bool)].min() > duplicates.LIMIT


def test_near_duplicates_do_not_depend_on_how_many_are_compared_at_once(
    films: dataset.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = duplicates.neighbours(films.films, films.pixels, 5, limit=40)
    monkeypatch.setattr(duplicates, "_BLOCK", 7)
    parts = duplicates.neighbours(films.films, films.pixels, 5, limit=40)
    assert [group.tolist() for group in whole.groups] == [group.tolist() for group in parts.groups]
    assert whole.closest == parts.closest
    assert np.array_equal(whole.nearest, parts.nearest)


def test_measures_are_those_of_the_decoder_by_class(found: Exploration, folder: Path) -> None:
    brightness = found.measures["brightness"]
    # Pneumonia was drawn at half the brightness, but for the copy of a normal film.
    assert brightness.spread["normal"].median > 1.5 * brightness.spread["bacterial"].median
    assert brightness.auc < 0.1
    assert found.measures["width"].spread["all"].model_dump() == {"low": 96, "median": 96, "high": 96}
    assert found.measures["width"].auc == 0.5
    assert found.measures["aspect ratio"].spread["all"].median == pytest.approx(1.2)
    assert found.sizes.sizes == {"96 × 80": 59}
    assert found.sizes.enlarged == 59
    assert found.sizes.formats == {"JPEG, 8 bits": {"bacterial": 19, "normal": 29, "viral": 11}}
    assert found.mean_films.difference < -20
    for shares in found.histograms.values():
        assert len(shares) == 256
        assert sum(shares) == pytest.approx(1)


def test_style_that_goes_with_the_label_is_told_as_a_problem(found: Exploration) -> None:
    style = found.style
    assert style.auc
    assert style.auc.value > 0.9
    shares = [cluster.count.share for cluster in style.clusters]
    assert shares == sorted(shares)
    assert sum(cluster.count.films for cluster in style.clusters) == 59
    finding = next(finding for finding in found.findings if finding.topic == "Style and label")
    assert finding.level == "problem"
    assert f"{style.auc.value:.3f}" in finding.text


def test_folds_are_those_of_fit_and_nothing_straddles_them(found: Exploration, output: Path) -> None:
    assert found.folds
    assert sum(fold.films for fold in found.folds.folds) == 59
    assert (found.folds.straddling_patients, found.folds.straddling_files) == (0, 0)
    with (output / "films.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 59
    folds: dict[str, set[str]] = {}
    for row in rows:
        folds.setdefault(row["patient"], set()).add(row["fold"])
    assert all(len(places) == 1 for places in folds.values())
    assert {row["path"] for row in rows} >= {"train/NORMAL/IM-0000-0000.jpeg", f"train/PNEUMONIA/{NASTY}"}


def test_the_terminal_table_says_what_the_numbers_say(found: Exploration, output: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(table(found))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    numbers = json.loads((output / "exploration.json").read_text())
    head, rows = overview(found)
    assert head == ["", "normal", "bacterial", "viral", "all"]
    assert rows[0] == [
        "films",
        *(str(numbers["films"][column]) for column in ("normal", "bacterial", "viral", "films")),
    ]
    for row in rows:
        line = next(line for line in shown.splitlines() if f"│ {row[0]} " in line)
        assert [cell.strip() for cell in line.strip("│").split("│")] == row
    for name, measure in numbers["measures"].items():
        row = next(row for row in rows if row[0] == f"{name}, {measure['unit']}")
        median = float(row[-1].split(" (")[0].replace(",", ""))
        assert median == pytest.approx(measure["spread"]["all"]["median"], rel=0.01)


class Links(HTMLParser):
    """Everything that a page points to, and the text of it."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.targets += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_complete_and_needs_no_other_host(output: Path, found: Exploration, folder: Path) -> None:
    text = (output / "index.html").read_text()
    page = Links()
    page.feed(text)
    anchors = {target for target in page.targets if target.startswith("#")}
    files = set(page.targets) - anchors
    assert files == {path.name for path in output.iterdir()} - {"index.html"}
    assert len([name for name in files if name.endswith(".png")]) == 11
    assert {f'id="{anchor[1:]}"' in text for anchor in anchors} == {True}
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert "script" not in page.tags
    assert "prefers-color-scheme: dark" in text
    for finding in found.findings:
        assert finding.text in page.text
    assert str(folder) not in text


def test_names_of_files_are_text_on_the_page(output: Path) -> None:
    text = (output / "index.html").read_text()
    page = Links()
    page.feed(text)
    assert "b" not in page.tags
    assert NASTY in page.text
    assert "<b>" not in text


def test_pictures_are_pictures(output: Path) -> None:
    for path in output.glob("*.png"):
        with Image.open(path) as picture:
            assert picture.width > 300
            assert np.asarray(picture.convert("L")).std() > 5


def test_the_same_films_give_the_same_page(folder: Path, output: Path, tmp_path: Path) -> None:
    show(folder, tmp_path)
    for path in output.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_too_few_patients_for_folds_are_told_and_the_rest_is_shown(tmp_path: Path) -> None:
    for label, opacity in (("NORMAL", False), ("PNEUMONIA", True)):
        (tmp_path / "films" / label).mkdir(parents=True)
        film = radiographs.draw(300, 300, seed=3, opacity=opacity)
        (tmp_path / "films" / label / f"{label}.png").write_bytes(radiographs.png(film))
    found = show(tmp_path / "films", tmp_path / "page")
    assert found.name == "films"
    assert found.folds is None
    assert "need at least 3" in found.no_folds
    assert found.style.auc is None
    assert len(found.style.clusters) == 2
    assert "folds.png" not in (tmp_path / "page" / "index.html").read_text()
    levels = {finding.topic: finding.level for finding in found.findings}
    assert levels["Folds"] == "problem"
    assert levels["Class balance"] == levels["Films a patient"] == levels["Unreadable films"] == "fine"


def test_a_table_of_films_is_explored_too(folder: Path, tmp_path: Path) -> None:
    rows = [
        f"{path.relative_to(folder)},{path.parent.name}"
        for label in dataset.LABELS
        for path in sorted(
            (folder / "train" / label).glob("*_[01].jpeg" if label == "PNEUMONIA" else "*.jpeg")
        )
    ]
    shutil.copytree(folder, tmp_path / "films")
    (tmp_path / "films" / "list.csv").write_text("\n".join(["path,label", *rows]))
    found = show(tmp_path / "films" / "list.csv", tmp_path / "page")
    assert found.splits.keys() == {"films"}
    assert found.splits["films"].films == len(rows)
    assert found.passed_over == ()


def test_a_class_of_which_no_film_can_be_read_is_an_error(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "train" / "NORMAL", tmp_path / "NORMAL")
    (tmp_path / "PNEUMONIA").mkdir()
    (tmp_path / "PNEUMONIA" / "person1_virus_1.jpeg").write_bytes(b"nothing")
    with pytest.raises(dataset.DatasetError, match="None of the PNEUMONIA films can be read"):
        show(tmp_path, tmp_path / "page")
