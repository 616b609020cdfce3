import dataclasses
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage

from app.engine.classifier import Classifier
from app.engine.finding import Finding, Reason
from app.reporting.errors import NotDicom, OwnResult, ReportingError, Unidentified
from app.reporting.identity import Algorithm, part10
from app.reporting.source import read_source
from app.reporting.structured_report import DISCLAIMER, structured_report
from tests import radiographs
from tests.app.reporting import films
from tests.app.reporting.conftest import Check, Judge

FILM = films.dataset()
FILE = films.part10(FILM)
ALGORITHM = Algorithm("pneumonia", "1", "0" * 64, 0.4)
FINDING = Finding(
    probability=0.962113,
    label="PNEUMONIA",
    threshold=0.4,
    threshold_overridden=False,
    subtypes=None,
    heatmap=None,
    novelty=None,
    review=False,
    reasons=(),
)


def written(film: bytes, finding: Finding = FINDING, algorithm: Algorithm = ALGORITHM) -> bytes:
    return part10(structured_report(read_source(film), finding, algorithm))


def report_of(film: bytes, finding: Finding = FINDING, algorithm: Algorithm = ALGORITHM) -> Dataset:
    return films.opened(written(film, finding, algorithm))


@pytest.fixture(scope="module")
def report(judge: Judge, classifier: Classifier) -> Dataset:
    return report_of(FILE, judge(FILE), Algorithm.of(classifier))


def named(parent: Dataset, code: str) -> list[Dataset]:
    """The children of a content item whose concept has this code."""
    return [item for item in parent.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == code]


def only(parent: Dataset, code: str) -> Dataset:
    (item,) = named(parent, code)
    return item


def coded(sequence: Any) -> tuple[str, str]:
    (item,) = sequence
    return item.CodeValue, item.CodingSchemeDesignator


def group(report: Dataset) -> Dataset:
    return only(only(report, "126010"), "125007")


def value(report: Dataset, code: str) -> float:
    (measured,) = only(group(report), code).MeasuredValueSequence
    return float(measured.NumericValue)


def test_it_is_a_measurement_report_by_template_1500(report: Dataset) -> None:
    assert report.SOPClassUID == ComprehensiveSRStorage
    assert (report.Modality, report.ValueType) == ("SR", "CONTAINER")
    assert coded(report.ConceptNameCodeSequence) == ("126000", "DCM")
    (template,) = report.ContentTemplateSequence
    assert (template.MappingResource, template.TemplateIdentifier) == ("DCMR", "1500")


def test_language_observer_and_procedure_stand_before_the_measurements_in_the_templates_order(
    report: Dataset,
) -> None:
    codes = [item.ConceptNameCodeSequence[0].CodeValue for item in report.ContentSequence]
    assert codes == ["121049", "121005", "121012", "121013", "121014", "121015", "121016", "121058", "126010"]
    assert coded(only(report, "121049").ConceptCodeSequence) == ("en", "RFC5646")
    assert coded(only(report, "121005").ConceptCodeSequence) == ("121007", "DCM")
    assert coded(only(report, "121058").ConceptCodeSequence) == ("399208008", "SCT")
    relations = [item.RelationshipType for item in report.ContentSequence]
    assert relations == ["HAS CONCEPT MOD", *["HAS OBS CONTEXT"] * 6, "HAS CONCEPT MOD", "CONTAINS"]


def test_the_measurement_group_is_tracked_and_names_what_was_looked_for(report: Dataset) -> None:
    items = group(report)
    (template,) = items.ContentTemplateSequence
    assert template.TemplateIdentifier == "1501"
    assert only(items, "112039").TextValue == "Pneumonia, the whole film"
    assert only(items, "112040").UID.startswith("2.25.")
    assert coded(only(items, "121071").ConceptCodeSequence) == ("233604007", "SCT")


def test_the_probability_and_the_threshold_are_numbers_with_a_unit(report: Dataset, judge: Judge) -> None:
    finding = judge(FILE)
    for code, expected in (("probability", finding.probability), ("threshold", finding.threshold)):
        item = only(group(report), code)
        (measured,) = item.MeasuredValueSequence
        assert (item.ValueType, item.RelationshipType) == ("NUM", "CONTAINS")
        assert coded(measured.MeasurementUnitsCodeSequence) == ("1", "UCUM")
        assert float(measured.NumericValue) == pytest.approx(expected, abs=1e-12)
        assert measured.FloatingPointValue == expected


def test_subtypes_are_there_where_the_model_tells_them_apart(report: Dataset, judge: Judge) -> None:
    subtypes = judge(FILE).subtypes
    assert subtypes is not None
    assert value(report, "bacterial") == pytest.approx(subtypes.bacterial)
    assert value(report, "viral") == pytest.approx(subtypes.viral)
    plain = group(report_of(FILE))
    assert named(plain, "bacterial") == named(plain, "viral") == []


def test_the_algorithm_is_identified_down_to_its_weights(report: Dataset, classifier: Classifier) -> None:
    items = group(report)
    assert only(items, "111001").TextValue == "Pneumoscope tiny"
    assert only(items, "111003").TextValue == "1"
    parameters = [item.TextValue for item in named(items, "111002")]
    assert f"model SHA-256 {classifier.sha256}" in parameters
    assert "threshold 0.4" in parameters


def test_a_threshold_that_was_set_says_so() -> None:
    finding = dataclasses.replace(FINDING, threshold=0.7, threshold_overridden=True)
    parameters = [item.TextValue for item in named(group(report_of(FILE, finding)), "111002")]
    assert "threshold 0.7 set in place of the model's own" in parameters


def test_the_film_is_referred_to_and_is_the_evidence(report: Dataset) -> None:
    (pointer,) = only(group(report), "121112").ReferencedSOPSequence
    assert pointer.ReferencedSOPInstanceUID == FILM.SOPInstanceUID
    assert pointer.ReferencedSOPClassUID == FILM.SOPClassUID
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == FILM.StudyInstanceUID
    assert series.SeriesInstanceUID == FILM.SeriesInstanceUID
    assert instance.ReferencedSOPInstanceUID == FILM.SOPInstanceUID


def test_it_is_filed_with_patient_and_study_in_a_series_of_its_own(report: Dataset) -> None:
    for keyword in (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyInstanceUID",
        "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyDescription",
    ):  # fmt: skip
        assert report[keyword].value == FILM[keyword].value, keyword
    assert report.SeriesInstanceUID != FILM.SeriesInstanceUID
    assert report.SOPInstanceUID != FILM.SOPInstanceUID
    assert report.SeriesDescription == "Pneumoscope report (research use)"


@pytest.mark.parametrize(("label", "context"), [("PNEUMONIA", "415684004"), ("NORMAL", "261665006")])
def test_pneumonia_is_suspected_or_unknown_and_never_absent(label: Any, context: str) -> None:
    items = group(report_of(FILE, dataclasses.replace(FINDING, label=label)))
    assert coded(only(items, "408729009").ConceptCodeSequence) == (context, "SCT")
    assert coded(only(items, "label").ConceptCodeSequence) == (label, "99PNEUMOSCOPE")


def test_it_says_in_words_that_a_reader_decides_and_is_not_verified(report: Dataset) -> None:
    assert only(group(report), "121106").TextValue == DISCLAIMER
    assert "research" in DISCLAIMER
    assert "A reader decides" in DISCLAIMER
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")


def test_reasons_to_look_again_stand_in_words() -> None:
    reasons = (Reason("novel", "Unlike the others."), Reason("uncertain", "In the band."))
    items = group(report_of(FILE, dataclasses.replace(FINDING, review=True, reasons=reasons)))
    assert coded(only(items, "review").ConceptCodeSequence) == ("373066001", "SCT")
    assert [item.TextValue for item in named(items, "review-reason")] == [
        "Unlike the others.",
        "In the band.",
    ]
    unreviewed = group(report_of(FILE))
    assert coded(only(unreviewed, "review").ConceptCodeSequence) == ("373067005", "SCT")
    assert named(unreviewed, "review-reason") == []


def test_a_report_made_twice_is_one_object() -> None:
    first, second = report_of(FILE), report_of(FILE)
    assert first.SOPInstanceUID == second.SOPInstanceUID
    assert first.SeriesInstanceUID == second.SeriesInstanceUID


@pytest.mark.parametrize("change", [{"sha256": "1" * 64}, {"threshold": 0.5}])
def test_another_model_or_threshold_makes_another_object(change: dict[str, Any]) -> None:
    other = report_of(FILE, algorithm=dataclasses.replace(ALGORITHM, **change))
    assert other.SOPInstanceUID != report_of(FILE).SOPInstanceUID


def test_reports_of_two_films_of_a_study_share_a_series() -> None:
    sibling = films.film(StudyInstanceUID=FILM.StudyInstanceUID)
    assert report_of(sibling).SeriesInstanceUID == report_of(FILE).SeriesInstanceUID
    assert report_of(sibling).SOPInstanceUID != report_of(FILE).SOPInstanceUID


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"PatientName": "Single"},
        {"PatientName": ""},
        {"PatientName": None, "PatientID": None, "StudyID": None, "StudyDate": None, "AccessionNumber": None},
        {
            "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
            "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
        },
        {"PatientName": "Müller^Jürgen", "SpecificCharacterSet": "ISO_IR 100"},
        {"PatientOrientation": None, "InstanceNumber": None, "BurnedInAnnotation": None},
        {"InstanceNumber": -5},
        {"PatientID": "A" * 64},
    ],
    ids=lambda attributes: "-".join(attributes) or "ordinary",
)
def test_dciodvfy_finds_no_error_whatever_the_film_says(attributes: dict[str, Any], errors_of: Check) -> None:
    film = films.film(**attributes)
    report = written(film)
    assert errors_of(report) == []
    for keyword in ("PatientName", "PatientID"):
        assert str(films.opened(report)[keyword].value) == str(films.opened(film).get(keyword) or "")


@pytest.mark.parametrize(
    ("keyword", "value"), [("PatientSex", "X"), ("PatientBirthDate", "2020"), ("StudyTime", "noon")]
)
def test_a_value_that_dicom_does_not_allow_is_left_out(keyword: str, value: str, errors_of: Check) -> None:
    report = written(films.film(**{keyword: value}))
    assert errors_of(report) == []
    assert not films.opened(report)[keyword].value


@pytest.mark.parametrize(
    ("film", "error"),
    [
        (radiographs.jpeg(radiographs.draw(48, 40)), NotDicom),
        (b"", NotDicom),
        (b"\0" * 128 + b"DICM" + b"\xff" * 64, Unidentified),
        (films.film(StudyInstanceUID=None), Unidentified),
        (films.film(SeriesInstanceUID=""), Unidentified),
        (films.film(Manufacturer="Pneumoscope"), OwnResult),
        (written(FILE), OwnResult),
    ],
    ids=["JPEG", "nothing", "damaged", "no study", "no series", "ours", "a report"],
)
def test_no_report_is_made_of_what_has_no_study_or_is_one(film: bytes, error: type[ReportingError]) -> None:
    with pytest.raises(error) as told:
        read_source(film)
    assert not any(secret in str(told.value) for secret in films.SECRETS)
    assert not any(secret in repr(told.value) for secret in films.SECRETS)


def test_a_source_does_not_show_the_patient() -> None:
    shown = repr(read_source(FILE))
    assert not any(secret in shown for secret in films.SECRETS)


def test_a_report_made_twice_differs_in_its_times_alone() -> None:
    times = ("InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime")
    reports = [report_of(FILE), report_of(FILE)]
    for report in reports:
        for keyword in times:
            del report[keyword]
        for contribution in report.ContributingEquipmentSequence:
            del contribution.ContributionDateTime
    assert reports[0] == reports[1]
