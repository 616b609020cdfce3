"""Whatever the bytes of a film's header are: results, or an error that is expected."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.engine.classifier import Classifier
from app.imaging import ImagingError
from app.reporting.errors import ReportingError
from app.reporting.results import capture_file, report_file
from tests.app.reporting import films
from tests.app.reporting.conftest import Judge

SIDE = 32
FILM = films.film(
    width=SIDE,
    height=SIDE,
    LossyImageCompression="01",
    LossyImageCompressionRatio="12.5",
    LossyImageCompressionMethod="ISO_10918_1",
    SpecificCharacterSet=["", "ISO 2022 IR 87"],
    PatientName="Yamada^Tarou=山田^太郎",
)
HEADER = range(132, len(FILM) - SIDE * SIDE)
BYTES = st.one_of(st.integers(0, 255), st.sampled_from(b"\\\x1b^=\0 /."))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(HEADER), BYTES, min_size=1, max_size=4))
def test_a_damaged_header_ends_in_results_or_in_an_expected_error(
    changes: dict[int, int], judge: Judge, classifier: Classifier
) -> None:
    film = bytearray(FILM)
    for place, byte in changes.items():
        film[place] = byte
    damaged = bytes(film)
    try:
        finding = judge(damaged)
        assert finding.heatmap is not None
        results = [
            report_file(damaged, finding, classifier),
            capture_file(damaged, finding, finding.heatmap, classifier, max_pixels=10**7),
        ]
    except (ImagingError, ReportingError):
        return
    assert [films.opened(result).Modality for result in results] == ["SR", "OT"]
