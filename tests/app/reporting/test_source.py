"""What a result takes over of its film: only values that DICOM allows."""

import pytest
from pydicom import config

from app.reporting.errors import Unidentified
from app.reporting.source import read_source
from tests.app.reporting import films


@pytest.fixture(autouse=True)
def anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test write films that DICOM does not allow."""
    monkeypatch.setattr(config.settings, "writing_validation_mode", config.IGNORE)
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.IGNORE)


@pytest.mark.parametrize(
    "uid", [".", "1..2", "1.02.3", "1.2.", ".1.2", "1", "3.1", "1.2\\1.3", "1." + "2" * 63]
)
def test_a_uid_of_another_grammar_identifies_nothing(uid: str) -> None:
    with pytest.raises(Unidentified, match="StudyInstanceUID"):
        read_source(films.film(StudyInstanceUID=uid))


@pytest.mark.parametrize("uid", ["1.2", "2.25.0", "1.0.3", "1." + "2" * 62])
def test_a_uid_of_the_grammar_is_taken_over(uid: str) -> None:
    assert read_source(films.film(StudyInstanceUID=uid)).study_instance_uid == uid


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientName", "A" * 307),
        ("PatientName", "Doe\x1b^Jane"),
        ("PatientName", "Doe^Jane\\Roe^Ann"),
        ("PatientName", "a=b=c=d"),
        ("PatientID", "1" * 500),
        ("PatientID", "1\r\n2"),
        ("AccessionNumber", "1" * 17),
        ("StudyID", "1\\2"),
        ("StudyDescription", ["Chest", "Knee"]),
        ("IssuerOfPatientID", "1" * 65),
        ("StudyDate", "20241399"),
        ("StudyTime", "256199"),
    ],
)
def test_a_value_that_dicom_does_not_allow_is_left_out(keyword: str, value: object) -> None:
    source = read_source(films.film(**{keyword: value}))
    assert source.patient_and_study.get(keyword, "") == ""


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientName", "=".join("Ä" * 64 for _ in range(3))),
        ("PatientID", "1" * 64),
        ("AccessionNumber", "1" * 16),
        ("StudyDate", "20241231"),
        ("StudyTime", "235960.123456"),
    ],
)
def test_a_value_of_the_greatest_length_is_taken_over(keyword: str, value: str) -> None:
    source = read_source(films.film(SpecificCharacterSet="ISO_IR 192", **{keyword: value}))
    assert source.patient_and_study[keyword] == value
