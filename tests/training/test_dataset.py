import csv
from pathlib import Path

import numpy as np
import pytest

from app.imaging import read
from tests import radiographs
from tests.training.conftest import PATIENTS, write_films
from training.dataset import (
    DatasetError,
    find_films,
    kind_of,
    list_digest,
    load,
    patient_of,
)


def test_the_public_layout_is_found_with_its_labels_kinds_and_patients(data: Path) -> None:
    films = find_films(data)
    assert len(films) == 4 * PATIENTS
    assert sum(film.label for film in films) == 2 * PATIENTS
    assert {film.kind for film in films if film.label} == {"bacterial", "viral"}
    assert {film.kind for film in films if not film.label} == {"normal"}
    assert len(find_films(data, "test")) == 12


def test_a_folder_of_classes_needs_no_split(data: Path) -> None:
    assert find_films(data / "test") == find_films(data, "test")


@pytest.mark.parametrize(
    ("name", "label", "patient", "kind"),
    [
        ("person1000_bacteria_2931.jpeg", 1, "1000", "bacterial"),
        ("person1000_virus_1681.jpeg", 1, "1000", "viral"),
        ("person7_other.jpeg", 1, "7", "unknown"),
        ("IM-0115-0001.jpeg", 0, "115", "normal"),
        ("NORMAL2-IM-0115-0001.jpeg", 0, "115", "normal"),
        ("IM-0115-0001-0002.jpeg", 0, "115", "normal"),
        ("scan_a.png", 0, "scan_a", "normal"),
    ],
)
def test_file_names_tell_patient_and_kind(name: str, label: int, patient: str, kind: str) -> None:
    assert patient_of(name) == patient
    assert kind_of(name, label) == kind


def test_films_are_decoded_as_the_service_decodes_them(data: Path) -> None:
    films = load(find_films(data)[:3])
    for film, pixels in zip(films.films, films.pixels, strict=True):
        assert np.array_equal(pixels, read(film.path.read_bytes(), size=224).pixels)


def test_a_smaller_size_keeps_the_picture(data: Path) -> None:
    films = load(find_films(data)[:2])
    assert films.resized(64).shape == (2, 64, 64)
    assert abs(films.resized(64).mean() - films.pixels.mean()) < 1
    assert films.resized(224) is films.pixels


@pytest.mark.parametrize("missing", ["", "train", "train/NORMAL", "train/PNEUMONIA"])
def test_a_missing_folder_is_named(tmp_path: Path, missing: str) -> None:
    root = tmp_path / "data"
    if missing:
        write_films(root / "train", patients=1)
        gone = root / missing
        for path in sorted(gone.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        gone.rmdir()
    with pytest.raises(DatasetError) as raised:
        find_films(root)
    assert str(root / missing) in str(raised.value)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    for name in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "train" / name).mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"NORMAL holds no JPEG or PNG film"):
        find_films(tmp_path)


def test_every_unreadable_film_is_named_before_training(tmp_path: Path) -> None:
    write_films(tmp_path / "train", patients=2)
    broken = tmp_path / "train" / "NORMAL" / "IM-0000-0000.jpeg"
    broken.write_bytes(broken.read_bytes()[:200])
    empty = tmp_path / "train" / "PNEUMONIA" / "person9_virus_1.jpeg"
    empty.write_bytes(b"")
    with pytest.raises(DatasetError) as raised:
        load(find_films(tmp_path))
    message = str(raised.value)
    assert "2 films cannot be read" in message
    assert str(broken) in message
    assert str(empty) in message


def test_a_csv_of_path_and_label_is_read(tmp_path: Path, data: Path) -> None:
    paths = [film.path for film in find_films(data)]
    table = tmp_path / "films.csv"
    with table.open("w", newline="") as lines:
        rows = csv.writer(lines)
        rows.writerow(["path", "label", "patient"])
        rows.writerow([paths[0], "NORMAL", "p1"])
        rows.writerow([paths[-1], "1", ""])
    films = find_films(table)
    assert [film.label for film in films] == [0, 1]
    assert [film.patient for film in films] == ["p1", patient_of(paths[-1].name)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("path\nx.png\n", "lacks the column label"),
        ("path,label\nnowhere.png,1\n", "line 2: there is no file"),
        ("path,label\nfilm.png,maybe\n", "line 2: the label is none of"),
        ("path,label\n", "names no film"),
    ],
)
def test_a_faulty_csv_is_a_clear_error(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "film.png").write_bytes(radiographs.png(radiographs.draw(32, 32)))
    table = tmp_path / "films.csv"
    table.write_text(text)
    with pytest.raises(DatasetError, match=complaint):
        find_films(table)


def test_the_digest_of_a_list_ignores_order_and_folder_but_not_labels(data: Path) -> None:
    films = find_films(data)
    assert list_digest(films) == list_digest(films[::-1])
    assert list_digest(films) != list_digest(films[1:])
