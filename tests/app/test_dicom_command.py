"""`python -m app dicom`, as a user runs it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny_model
from tests.app.command_line import ROOT, run
from tests.app.reporting import films


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a good film, a knee, a JPEG's name and a film whose name looks like a UID."""
    (tmp_path / "good.dcm").write_bytes(films.film(seed=1))
    (tmp_path / "1.2.840.17").write_bytes(films.film(seed=2))
    (tmp_path / "knee.dcm").write_bytes(films.film(BodyPartExamined="KNEE"))
    (tmp_path / "text.dcm").write_bytes(b"text")
    return tmp_path


def dicom(folder: Path, model: Path, *names: str) -> subprocess.CompletedProcess[str]:
    paths = [str(folder / name) for name in names]
    return run("dicom", *paths, "--output", str(folder / "out"), MODEL_DIR=str(model))


def written(folder: Path) -> set[str]:
    return {path.name for path in (folder / "out").iterdir()}


def test_each_film_gets_its_report_and_its_heat_map(folder: Path, tiny_folder: Path) -> None:
    ended = dicom(folder, tiny_folder, "good.dcm", "1.2.840.17")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert written(folder) == {"good.sr.dcm", "good.sc.dcm", "1.2.840.17.sr.dcm", "1.2.840.17.sc.dcm"}
    report = films.opened((folder / "out" / "good.sr.dcm").read_bytes())
    film = films.opened((folder / "good.dcm").read_bytes())
    assert (report.Modality, report.StudyInstanceUID) == ("SR", film.StudyInstanceUID)
    assert [re.sub(r".*: ", "", line)[:9] for line in ended.stdout.splitlines()] == ["NORMAL 0."] * 2


def test_a_film_that_is_refused_does_not_spoil_the_others(folder: Path, tiny_folder: Path) -> None:
    ended = dicom(folder, tiny_folder, "text.dcm", "knee.dcm", "good.dcm")
    assert ended.returncode == 3
    assert written(folder) == {"good.sr.dcm", "good.sc.dcm"}
    text, knee, good = ended.stdout.splitlines()
    assert text.endswith("text.dcm: Only a DICOM film has a study to file a DICOM result in.")
    assert "BodyPartExamined" in knee
    assert "NORMAL 0." in good
    assert ended.stderr == ""


def test_what_cannot_be_read_is_the_worst_outcome(folder: Path, tiny_folder: Path) -> None:
    ended = dicom(folder, tiny_folder, "missing.dcm", "text.dcm", "good.dcm")
    assert ended.returncode == 4
    assert "missing.dcm: No such file or directory" in ended.stdout
    assert written(folder) == {"good.sr.dcm", "good.sc.dcm"}


def test_a_file_that_is_too_large_is_refused(folder: Path, tiny_folder: Path) -> None:
    (folder / "large.dcm").write_bytes(films.film(seed=4) + bytes(100_000))
    ended = run(
        "dicom", str(folder / "large.dcm"), str(folder / "good.dcm"), "--output", str(folder / "out"),
        MODEL_DIR=str(tiny_folder), MAX_UPLOAD_MB="0.05",
    )  # fmt: skip
    assert ended.returncode == 3
    assert "PNEUMOSCOPE_MAX_UPLOAD_MB" in ended.stdout
    assert written(folder) == {"good.sr.dcm", "good.sc.dcm"}


def test_a_folder_is_a_wrong_argument(folder: Path, tiny_folder: Path) -> None:
    ended = dicom(folder, tiny_folder, ".", "text.dcm")
    assert ended.returncode == 2
    assert "directory" in ended.stderr


def test_two_films_of_one_name_do_not_overwrite_each_other(folder: Path, tiny_folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "good.dcm").write_bytes(films.film(seed=3))
    ended = dicom(folder, tiny_folder, "good.dcm", "other/good.dcm")
    assert ended.returncode == 4
    assert "another film of this run is called good too" in ended.stdout
    report = films.opened((folder / "out" / "good.sr.dcm").read_bytes())
    assert report.StudyInstanceUID == films.opened((folder / "good.dcm").read_bytes()).StudyInstanceUID


def test_a_second_run_writes_the_same_objects(folder: Path, tiny_folder: Path) -> None:
    uids = []
    for _ in range(2):
        dicom(folder, tiny_folder, "good.dcm")
        uids.append(
            [films.opened(path.read_bytes()).SOPInstanceUID for path in sorted((folder / "out").iterdir())]
        )
    assert uids[0] == uids[1]


def test_a_model_without_a_heat_map_writes_the_report_alone(folder: Path, model_folder: Path) -> None:
    (model_folder / "model.onnx").write_bytes(tiny_model.build(heatmap=False))
    assert dicom(folder, model_folder, "good.dcm").returncode == 0
    assert written(folder) == {"good.sr.dcm"}


def test_nothing_of_the_patient_is_told(folder: Path, tiny_folder: Path) -> None:
    ended = dicom(folder, tiny_folder, "good.dcm", "knee.dcm")
    assert not any(secret in ended.stdout + ended.stderr for secret in films.SECRETS)


@pytest.mark.parametrize(
    "command", [("dicom", "film.dcm", "--output", "out"), ("orthanc",)], ids=["dicom", "orthanc"]
)
def test_without_the_extra_the_commands_say_what_is_missing(command: tuple[str, ...]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.shipping.runtime_only", *command],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "install the extra `dicom`" in ended.stderr
