"""DICOM results over HTTP, for those who ask for them by Accept."""

from pathlib import Path

import httpx
import pytest

from app.api.negotiation import quality
from app.settings import Settings
from tests import tiny_model
from tests.app.live import Live, process, running
from tests.app.reporting import films

DICOM = "application/dicom"
FILM = films.film(seed=2)


def ask(live: Live, route: str, film: bytes, accept: str | None = DICOM) -> httpx.Response:
    headers = {} if accept is None else {"Accept": accept}
    return live.client.post(route, files={"file": ("film", film)}, headers=headers)


@pytest.mark.parametrize(
    ("accept", "weights"),
    [
        ("", (0, 0)),
        ("*/*", (1, 1)),
        ("application/dicom", (1, 0)),
        ("Application/DICOM", (1, 0)),
        ("application/*", (1, 1)),
        ("application/*;q=0.5, application/dicom", (1, 0.5)),
        ("application/json;q=0.2, application/dicom;q=0.1", (0.1, 0.2)),
        ("*/*;q=0.1, application/dicom;transfer-syntax=*;q=0.9", (0.9, 0.1)),
        ("application/dicom;q=0", (0, 0)),
        ("application/dicom;q=much", (0, 0)),
        (",;,", (0, 0)),
    ],
)
def test_the_most_specific_range_decides(accept: str, weights: tuple[float, float]) -> None:
    assert (quality(accept, DICOM), quality(accept, "application/json")) == weights


@pytest.mark.parametrize(
    "accept", [None, "*/*", "application/json, image/png", "text/html", "application/dicom;q=0"]
)
def test_json_and_png_come_unless_dicom_is_preferred(live: Live, accept: str | None) -> None:
    for route, media_type in (("/predict", "application/json"), ("/explain", "image/png")):
        answer = ask(live, route, FILM, accept)
        assert answer.status_code == 200, answer.text
        assert (answer.headers["content-type"], answer.headers["vary"]) == (media_type, "Accept")


def test_predict_answers_with_a_report_that_says_the_same_as_its_json(live: Live) -> None:
    told = ask(live, "/predict", FILM, None).json()
    answer = ask(live, "/predict", FILM)
    assert answer.status_code == 200, answer.text
    assert (answer.headers["content-type"], answer.headers["vary"]) == (DICOM, "Accept")
    report = films.opened(answer.content)
    assert report.Modality == "SR"
    assert report.StudyInstanceUID == films.opened(FILM).StudyInstanceUID
    (group,) = report.ContentSequence[-1].ContentSequence
    values = {
        item.ConceptNameCodeSequence[0].CodeValue: item.MeasuredValueSequence[0].FloatingPointValue
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    }
    assert (values["probability"], values["threshold"]) == (told["probability"], told["threshold"])


def test_explain_answers_with_a_capture(live: Live) -> None:
    answer = ask(live, "/explain", FILM, "image/png;q=0.5, application/dicom")
    assert (answer.status_code, answer.headers["content-type"]) == (200, DICOM)
    assert films.opened(answer.content).PhotometricInterpretation == "RGB"


def test_the_same_film_gets_the_same_object_again(live: Live) -> None:
    for route in ("/predict", "/explain"):
        first, second = (films.opened(ask(live, route, FILM).content) for _ in range(2))
        assert first.SOPInstanceUID == second.SOPInstanceUID


@pytest.mark.parametrize("route", ["/predict", "/explain"])
def test_a_film_without_a_study_has_no_dicom_result(live: Live, route: str, film: bytes) -> None:
    for sent, status, code in (
        (film, 406, "no-dicom-result"),
        (b"", 406, "no-dicom-result"),
        (films.film(StudyInstanceUID=None), 422, "film-unidentified"),
        (ask(live, "/explain", FILM).content, 422, "own-result"),
        (films.film(BodyPartExamined="KNEE"), 422, "unsuitable-film"),
    ):
        answer = ask(live, route, sent)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_model_without_a_heat_map_has_a_report_but_no_capture(model_folder: Path) -> None:
    (model_folder / "model.onnx").write_bytes(tiny_model.build(heatmap=False, classes=False))
    with running(Settings(model_dir=model_folder)) as live:
        assert ask(live, "/predict", FILM).status_code == 200
        answer = ask(live, "/explain", FILM)
        assert (answer.status_code, answer.json()["code"]) == (409, "no-heatmap")


def test_the_document_tells_of_both_forms(live: Live) -> None:
    paths = live.client.get("/openapi.json").json()["paths"]
    assert set(paths["/predict"]["post"]["responses"]["200"]["content"]) == {"application/json", DICOM}
    assert set(paths["/explain"]["post"]["responses"]["200"]["content"]) == {"image/png", DICOM}


def test_a_service_without_the_extra_says_what_is_missing(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    with process(tiny_folder, tmp_path / "log", module="tests.shipping.runtime_only") as service:
        for sent, status, code in ((film, 406, "no-dicom-result"), (FILM, 501, "dicom-missing")):
            answer = service.client.post("/predict", files={"file": sent}, headers={"Accept": DICOM})
            assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert service.client.post("/predict", files={"file": film}).status_code == 200
