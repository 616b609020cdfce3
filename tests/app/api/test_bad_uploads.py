import contextlib
import gc
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from app.settings import Settings
from tests import dicom_films, radiographs
from tests.app.live import Live, Process, process, running, wait_until

FILM = radiographs.draw(seed=5)
GOOD = radiographs.jpeg(FILM)
DICOM = dicom_films.film(FILM)
HAND = dicom_films.film(FILM, BodyPartExamined="HAND")
CORRUPT_EXIF = b"Exif\0\0II\x2a\0\xff\xff\xff\x7f" + bytes(range(100))


@dataclass(frozen=True)
class Upload:
    """A bad (or odd) upload and what is answered to it."""

    status: int
    code: str | None
    files: Any = None
    request: dict[str, Any] = field(default_factory=dict)


UPLOADS = {
    "empty file": Upload(400, "unreadable-image", {"file": ("film.jpg", b"")}),
    "truncated JPEG": Upload(400, "unreadable-image", {"file": GOOD[: len(GOOD) // 2]}),
    "truncated PNG": Upload(400, "unreadable-image", {"file": radiographs.png(FILM)[:5000]}),
    "text": Upload(
        415, "unsupported-image", {"file": ("film.jpg", b"Dear colleague, see the film attached.")}
    ),
    "GIF": Upload(415, "unsupported-image", {"file": radiographs.gif(FILM)}),
    "animated PNG": Upload(415, "unsupported-image", {"file": radiographs.animated_png(FILM)}),
    "truncated DICOM": Upload(400, "unreadable-image", {"file": dicom_films.encoded(DICOM)[:5000]}),
    "DICOM of a hand": Upload(422, "unsuitable-film", {"file": dicom_films.encoded(HAND)}),
    "DICOM preamble alone": Upload(400, "unreadable-image", {"file": bytes(128) + b"DICM"}),
    "40,000 squared": Upload(413, "too-many-pixels", {"file": radiographs.png_claiming(40_000, 40_000)}),
    "10,000 squared": Upload(413, "too-many-pixels", {"file": radiographs.png_claiming(10_000, 10_000)}),
    "too many bytes": Upload(413, "body-too-large", {"file": bytes(3_000_000)}),
    "wrong field name": Upload(422, "field-missing", {"image": GOOD}),
    "two files": Upload(413, "too-many-files", [("file", GOOD), ("file", GOOD)]),
    "a field, not a file": Upload(
        422, "field-missing", request={"data": {"file": "text"}, "files": {"other": ("", b"")}}
    ),
    "no form": Upload(
        422, "field-missing", request={"content": GOOD, "headers": {"Content-Type": "image/jpeg"}}
    ),
    "no body": Upload(422, "field-missing"),
    "JSON": Upload(422, "field-missing", request={"json": {"file": "film"}}),
    "no boundary": Upload(
        400, "malformed-form", request={"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}
    ),
    "broken form": Upload(
        400,
        "malformed-form",
        request={"content": b"garbage", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
    ),
    "unfinished form": Upload(
        400,
        "malformed-form",
        request={
            "content": b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nabc',
            "headers": {"Content-Type": "multipart/form-data; boundary=x"},
        },
    ),
    "corrupt EXIF on a good film": Upload(200, None, {"file": radiographs.jpeg(FILM, exif=CORRUPT_EXIF)}),
    "empty file name": Upload(
        200,
        None,
        request={
            "content": b'--x\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n'
            + GOOD
            + b"\r\n--x--\r\n",
            "headers": {"Content-Type": "multipart/form-data; boundary=x"},
        },
    ),
}


@pytest.fixture(scope="module")
def small(tiny_folder: Path) -> Iterator[Live]:
    """A service that takes two megabytes."""
    with running(Settings(model_dir=tiny_folder, max_upload_mb=2)) as live:
        yield live


@pytest.mark.parametrize("route", ["/predict", "/explain", "/film"])
@pytest.mark.parametrize("name", UPLOADS)
def test_each_bad_upload_gets_its_answer_and_the_service_lives_on(small: Live, route: str, name: str) -> None:
    upload = UPLOADS[name]
    answer = (
        small.client.post(route, files=upload.files, **upload.request)
        if upload.files
        else (small.client.post(route, **upload.request))
    )
    assert answer.status_code == upload.status, answer.text
    if upload.code is not None:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == upload.code
        assert answer.json()["status"] == upload.status
    assert small.predict(GOOD).status_code == 200
    assert small.service.admission.taken == 0


def test_in_a_batch_each_bad_film_has_its_own_problem(small: Live) -> None:
    names = ["empty file", "truncated JPEG", "text", "GIF", "40,000 squared"]
    contents = [UPLOADS[name].files["file"] for name in names]
    items = small.client.post("/predict/batch", files=[("files", content) for content in contents]).json()
    assert [item["status"] for item in items] == [UPLOADS[name].status for name in names]


def resident(service: Process) -> int:
    return int(psutil.Process(service.process.pid).memory_info().rss)


HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n\xff\xd8\xff'


def endless(total: int) -> Iterator[bytes]:
    yield HEAD
    chunk = bytes(2**20)
    for _ in range(total // len(chunk)):
        yield chunk


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_200_megabytes_are_refused_and_leave_no_memory_behind(
    tiny_folder: Path, tmp_path: Path, announced: bool
) -> None:
    total = 200 * 2**20
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    if announced:
        headers["Content-Length"] = str(len(HEAD) + total)
    with process(tiny_folder, tmp_path / "log") as service:
        for _ in range(3):
            service.client.post("/predict", files={"file": GOOD})
        before = resident(service)
        with contextlib.suppress(
            httpx.WriteError, httpx.ReadError
        ):  # we stop reading after a while: the connection may break
            answer = service.client.post("/predict", content=endless(total), headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
        assert service.client.post("/predict", files={"file": GOOD}).status_code == 200

        def statuses() -> list[int]:
            return sorted(line["status"] for line in service.lines() if line.get("route") == "/predict")

        wait_until(lambda: statuses() == [200, 200, 200, 200, 413], "the log has four films and one refusal")
        gc.collect()
        assert resident(service) - before < 40 * 2**20


def test_a_header_that_claims_a_giant_costs_no_memory(tiny_folder: Path, tmp_path: Path) -> None:
    with process(tiny_folder, tmp_path / "log") as service:
        service.client.post("/predict", files={"file": GOOD})
        before = resident(service)
        for _ in range(20):
            answer = service.client.post("/predict", files={"file": radiographs.png_claiming(40_000, 40_000)})
            assert answer.status_code == 413
        assert resident(service) - before < 20 * 2**20


def test_a_film_of_the_largest_size_allowed_is_read(small: Live) -> None:
    large = radiographs.png(np.zeros((6000, 6000), np.uint8))
    assert len(large) < 2_000_000
    assert small.predict(large).status_code == 200
