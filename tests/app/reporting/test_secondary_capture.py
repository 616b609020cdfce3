import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import UID, SecondaryCaptureImageStorage

from app.engine.classifier import Classifier
from app.imaging import overlay
from app.reporting.results import capture_file, report_file
from app.reporting.secondary_capture import MAX_CAPTURE_PIXELS
from app.reporting.source import read_source
from tests import dicom_films
from tests.app.reporting import films
from tests.app.reporting.conftest import Check, Judge

FILM = films.dataset(seed=4)
FILE = films.part10(FILM)


def captured(film: bytes, judge: Judge, classifier: Classifier) -> bytes:
    finding = judge(film)
    assert finding.heatmap is not None
    return capture_file(film, finding, finding.heatmap, classifier, max_pixels=64_000_000)


@pytest.fixture(scope="module")
def capture(judge: Judge, classifier: Classifier) -> Dataset:
    return films.opened(captured(FILE, judge, classifier))


def test_it_is_a_secondary_capture_in_colour(capture: Dataset) -> None:
    assert capture.SOPClassUID == SecondaryCaptureImageStorage
    assert (capture.PhotometricInterpretation, capture.SamplesPerPixel, capture.BitsStored) == ("RGB", 3, 8)
    assert list(capture.ImageType)[:2] == ["DERIVED", "SECONDARY"]
    assert capture.ConversionType == "WSD"


def test_its_pixels_are_those_that_explain_paints(capture: Dataset, judge: Judge) -> None:
    heatmap = judge(FILE).heatmap
    assert heatmap is not None
    with Image.open(io.BytesIO(overlay.over_film(FILE, heatmap))) as picture:
        assert np.array_equal(capture.pixel_array, np.asarray(picture))
    assert (capture.Columns, capture.Rows) == (FILM.Columns, FILM.Rows)
    assert np.ptp(capture.pixel_array, axis=2).max() > 50, "the heat map is in colour"


def test_it_is_filed_with_patient_and_study_in_a_series_of_its_own(
    capture: Dataset, judge: Judge, classifier: Classifier
) -> None:
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber", "StudyDate"):
        assert capture[keyword].value == FILM[keyword].value, keyword
    report = films.opened(report_file(FILE, judge(FILE), classifier))
    assert len({item.SeriesInstanceUID for item in (capture, report, FILM)}) == 3
    assert len({item.SOPInstanceUID for item in (capture, report, FILM)}) == 3


def test_it_says_what_it_is_made_of_and_that_it_is_no_diagnosis(capture: Dataset) -> None:
    (source,) = capture.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == FILM.SOPInstanceUID
    assert "Research use; no diagnosis." in capture.DerivationDescription
    assert capture.SeriesDescription == "Pneumoscope heat map (research use)"


@pytest.mark.parametrize("said", ["YES", "NO", None])
def test_what_is_burned_in_is_what_the_film_says(
    said: str | None, judge: Judge, classifier: Classifier
) -> None:
    capture = films.opened(captured(films.film(BurnedInAnnotation=said), judge, classifier))
    assert capture.get("BurnedInAnnotation") == said


def test_a_film_that_lost_something_stays_marked(judge: Judge, classifier: Classifier) -> None:
    lossy = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": "12.5",
        "LossyImageCompressionMethod": "ISO_10918_1",
    }
    capture = films.opened(captured(films.film(**lossy), judge, classifier))
    assert {keyword: str(capture[keyword].value) for keyword in lossy} == lossy


@pytest.mark.parametrize(
    "attributes",
    [
        {"PatientOrientation": ["L", "F"]},
        {"PatientOrientation": []},
        {"PatientOrientation": None},
        {"PatientOrientation": ["left"]},
        {"BurnedInAnnotation": "MAYBE"},
        {"LossyImageCompression": "yes", "LossyImageCompressionMethod": "a good one"},
        {"InstanceNumber": 2**31 - 1},
    ],
    ids=str,
)
def test_dciodvfy_finds_no_error_whatever_the_film_says(
    attributes: dict[str, Any], judge: Judge, classifier: Classifier, errors_of: Check
) -> None:
    assert errors_of(captured(films.film(**attributes), judge, classifier)) == []


@pytest.mark.parametrize(
    "syntax", [*dicom_films.NATIVE, *dicom_films.LOSSLESS, *dicom_films.LOSSY_8_BIT], ids=lambda uid: uid.name
)
def test_a_film_has_its_results_however_it_is_stored(
    syntax: UID, judge: Judge, classifier: Classifier, capture: Dataset
) -> None:
    film = dicom_films.encoded(FILM, syntax)
    result = films.opened(captured(film, judge, classifier))
    difference = np.abs(result.pixel_array.astype(int) - capture.pixel_array.astype(int)).mean()
    assert difference < (2 if syntax in dicom_films.LOSSY_8_BIT else 1e-9)
    assert result.SOPInstanceUID == capture.SOPInstanceUID
    report = films.opened(report_file(film, judge(film), classifier))
    assert report.PatientName == FILM.PatientName


def test_a_capture_made_twice_is_one_object(judge: Judge, classifier: Classifier, capture: Dataset) -> None:
    assert films.opened(captured(FILE, judge, classifier)).SOPInstanceUID == capture.SOPInstanceUID


def test_a_large_film_is_painted_on_a_smaller_copy(judge: Judge, classifier: Classifier) -> None:
    capture = films.opened(captured(films.film(width=3000, height=2000), judge, classifier))
    assert MAX_CAPTURE_PIXELS * 0.99 < capture.Rows * capture.Columns <= MAX_CAPTURE_PIXELS
    assert capture.Columns / capture.Rows == pytest.approx(1.5, abs=0.01)


def test_a_capture_is_no_film(capture: Dataset, judge: Judge, classifier: Classifier) -> None:
    with pytest.raises(ValueError, match="a result of this service"):
        read_source(captured(FILE, judge, classifier))
