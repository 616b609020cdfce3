"""DICOM films over HTTP: the answers of the same film in another file, and nothing of the patient in them."""

import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom import uid
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.uid import UID

from app.keys import entry_of
from app.settings import Settings
from tests import dicom_films, radiographs
from tests.app.live import Live, process, running, wait_until

FILM = radiographs.draw(seed=2, opacity=True)
NAME = "Mustermann^Erika"
TEXT = {"PN", "LO", "SH", "ST", "LT", "UT", "UC", "CS", "AE"}
DECIDING = ("Modality", "BodyPartExamined", "ViewPosition", "PhotometricInterpretation", "VOILUTFunction")


def dicom(samples: Any = FILM, syntax: UID = uid.ExplicitVRLittleEndian, **options: Any) -> bytes:
    return dicom_films.encoded(dicom_films.film(samples, **options), syntax)


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(dicom(), id="DX"),
        pytest.param(dicom(kind=uid.ComputedRadiographyImageStorage, Modality="CR"), id="CR"),
        pytest.param(dicom(255 - FILM, photometric="MONOCHROME1"), id="MONOCHROME1"),
        pytest.param(
            dicom(FILM.astype(np.uint16) * 16, bits=12, WindowCenter=2048, WindowWidth=4096), id="12 bits"
        ),
        pytest.param(dicom(syntax=uid.JPEGBaseline8Bit), id="JPEG"),
        pytest.param(dicom(syntax=uid.JPEGLosslessSV1), id="lossless JPEG"),
        pytest.param(dicom(syntax=uid.JPEG2000), id="JPEG 2000"),
        pytest.param(dicom(syntax=uid.RLELossless), id="RLE"),
        pytest.param(dicom(np.repeat(FILM[..., None], 3, 2), photometric="RGB"), id="colour"),
    ],
)
def test_a_film_gets_the_same_probability_in_dicom_as_in_png(live: Live, encoded: bytes) -> None:
    in_png = live.predict(radiographs.png(FILM)).json()
    in_dicom = live.predict(encoded).json()
    assert in_dicom["probability"] == pytest.approx(in_png["probability"], abs=0.02)
    assert in_dicom["reasons"] == in_png["reasons"]


def test_what_dicom_says_of_patient_and_view_asks_for_a_review(live: Live) -> None:
    plain = live.predict(dicom()).json()
    doubted = live.predict(dicom(PatientAge="047Y", ViewPosition="LL")).json()
    assert doubted["probability"] == plain["probability"]
    assert doubted["review"] is True
    added = [reason for reason in doubted["reasons"] if reason not in plain["reasons"]]
    assert [reason["code"] for reason in added] == ["age", "view"]
    assert "47" not in str(added)


def test_a_batch_may_mix_files_and_tells_each_its_own_problem(live: Live) -> None:
    films = [dicom(), radiographs.png(FILM), dicom(BodyPartExamined="FOOT"), dicom()[:900]]
    items = live.client.post("/predict/batch", files=[("files", film) for film in films]).json()
    assert [item.get("code") for item in items] == [None, None, "unsuitable-film", "unreadable-image"]
    assert items[0]["probability"] == items[1]["probability"]
    assert items[2]["status"] == 422


def test_the_heat_map_is_laid_over_the_dicom_film(live: Live) -> None:
    painted = [
        live.client.post("/explain", files={"file": film}).content
        for film in (dicom(), radiographs.png(FILM))
    ]
    assert painted[0] == painted[1]


@pytest.mark.parametrize(
    "encoded",
    [dicom(), radiographs.png(FILM), radiographs.png(FILM, orientation=6)],
    ids=["DICOM", "PNG", "turned"],
)
def test_the_film_is_shown_upright_at_its_own_size(live: Live, encoded: bytes) -> None:
    answer = live.client.post("/film", files={"file": encoded})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.mode == "L"
    assert np.array_equal(np.asarray(picture), FILM)


def test_a_large_film_is_shown_smaller(live: Live) -> None:
    answer = live.client.post("/film", files={"file": radiographs.png(np.zeros((3000, 4000), np.uint8))})
    width, height = Image.open(io.BytesIO(answer.content)).size
    assert 3_900_000 < width * height <= 4_000_000
    assert width / height == pytest.approx(4 / 3, abs=0.01)


def test_showing_a_film_runs_no_model(live: Live) -> None:
    def films_judged() -> float:
        judged: float = live.service.metrics.batch_size._sum.get()
        return judged

    before = films_judged()
    assert live.client.post("/film", files={"file": dicom()}).status_code == 200
    assert films_judged() == before
    live.predict(dicom())
    assert films_judged() == before + 1


def test_showing_a_film_needs_a_key_where_the_service_has_any(tiny_folder: Path) -> None:
    with running(Settings(model_dir=tiny_folder, api_keys=(entry_of("ward", "first"),))) as live:
        assert live.client.post("/film", files={"file": dicom()}).json()["code"] == "key-refused"
        opened = live.client.post("/film", files={"file": dicom()}, headers={"X-API-Key": "first"})
        assert opened.status_code == 200


def test_without_the_extra_dicom_is_told_to_be_missing_and_other_films_are_answered(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    with process(tiny_folder, tmp_path / "log", module="tests.app.without_dicom") as service:
        for route in ("predict", "explain", "film"):
            answer = service.client.post(f"/{route}", files={"file": dicom()})
            assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-image")
            assert "install its extra 'dicom'" in answer.json()["detail"]
            assert service.client.post(f"/{route}", files={"file": film}).status_code == 200


def planted(**options: Any) -> Dataset:
    """A film with the name in every attribute of text."""
    with warnings.catch_warnings(action="ignore"):
        dataset = dicom_films.film(FILM, **options)
        for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
            if vr in TEXT and 0x0008 <= tag >> 16 <= 0x0040 and not retired and keyword not in DECIDING:
                dataset.add_new(tag, vr, NAME)
        dataset.SpecificCharacterSet = "ISO_IR 192"
    return dataset


def films_with_a_name() -> Iterator[bytes]:
    """Good and bad ones; those with the name where pydicom expects something else make it complain loudly."""
    yield dicom_films.encoded(planted())
    yield dicom_films.encoded(planted())[:-5000]
    yield dicom_films.encoded(planted(), uid.JPEGLosslessSV1)[:-5000]
    for keyword in DECIDING:
        yield dicom_films.encoded(planted(**{keyword: NAME.upper()}))
    good = dicom_films.encoded(
        planted(
            WindowCenter="1000000000000000",
            WindowWidth="1000000000000000",
            NumberOfFrames="000000000001",
            PatientAge="003Y",
            PatientBirthDate="20200101",
        )
    )
    for value in (b"1000000000000000", b"000000000001", b"003Y", b"20200101", b"ISO_IR 192"):
        assert value in good
        yield good.replace(value, NAME.encode()[: len(value)])


def test_a_patients_name_is_in_no_answer_log_metric_or_file(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for variable in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(home))
    with warnings.catch_warnings(action="ignore"):
        films = list(films_with_a_name())
    assert all(film.count(NAME.encode()[:4]) > 50 for film in films), "else nothing is planted"
    told: list[str] = []
    with process(tiny_folder, tmp_path / "log", LOG_LEVEL="debug") as service:

        def note(answer: httpx.Response) -> int:
            told.append(f"{answer.headers} {answer.content!r}")
            return answer.status_code

        statuses = []
        for film in films:
            for route in ("/predict?explain=true", "/explain", "/film"):
                statuses.append(note(service.client.post(route, files={"file": (f"{NAME}.dcm", film)})))
            note(service.client.post("/predict/batch", files=[("files", film)] * 2))
        note(service.client.get("/metrics"))
        wait_until(
            lambda: sum(line.get("route") == "/film" for line in service.lines()) == len(films),
            "all is logged",
        )
        told.append(service.log.read_text())
    assert {200, 400, 422} == set(statuses), "films of each fate"
    for part in ("Mustermann", "MUSTERMANN", "Erika", NAME[:4]):
        assert part not in "\n".join(told)
    assert list(home.iterdir()) == []


def test_pydicom_itself_would_have_told_the_name(caplog: pytest.LogCaptureFixture) -> None:
    import pydicom

    logger = logging.getLogger("pydicom")
    silenced = logger.level
    with warnings.catch_warnings(action="ignore"):
        films = list(films_with_a_name())
        logger.setLevel(logging.DEBUG)
        try:
            for film in films:
                dataset = pydicom.dcmread(io.BytesIO(film))
                for keyword in ("PatientAge", "PatientBirthDate", "PatientName"):
                    dataset.get(keyword)
        finally:
            logger.setLevel(silenced)
    assert NAME[:4] in caplog.text


def test_a_dicom_upload_never_touches_a_disk(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a temporary file was opened")

    large = dicom(radiographs.draw(1600, 1600))
    with running(Settings(model_dir=tiny_folder)) as live:
        for name in ("TemporaryFile", "NamedTemporaryFile", "mkstemp", "_get_default_tempdir"):
            monkeypatch.setattr(tempfile, name, refuse)
        for route in ("/predict", "/explain", "/film"):
            assert live.client.post(route, files={"file": large}).status_code == 200


DAMAGES: dict[str, Callable[[bytearray, np.random.Generator], None]] = {
    "header": lambda data, random: _scramble(data, random, 132, 900),
    "pixels": lambda data, random: _scramble(data, random, 900, len(data)),
}


def _scramble(data: bytearray, random: np.random.Generator, start: int, end: int) -> None:
    for at in random.integers(start, end, 6):
        data[at] = random.integers(0, 256)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "syntax",
    [*dicom_films.NATIVE, *dicom_films.LOSSLESS, uid.JPEGBaseline8Bit],
    ids=lambda syntax: syntax.name,
)
def test_a_corrupt_film_is_never_the_services_fault(live: Live, syntax: UID, damage: str) -> None:
    random = np.random.default_rng(0)
    good = dicom(radiographs.draw(64, 48), syntax)
    for _ in range(25):
        data = bytearray(good)
        DAMAGES[damage](data, random)
        assert live.predict(bytes(data)).status_code in (200, 400, 413, 415, 422)
    assert live.predict(good).status_code == 200
