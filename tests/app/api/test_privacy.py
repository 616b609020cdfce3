import io
import tempfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin
from starlette.formparsers import MultiPartParser

from app.api import forms
from app.settings import Settings
from tests import radiographs
from tests.app.live import process, running, wait_until

SECRETS = ("Mustermann", "Erika^1964", "MRN-0815", "ward-secret", "comment-secret")
NAME = "Mustermann_MRN-0815.jpg"


def jpeg_with_secrets() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "Erika^1964"  # ImageDescription
    exif[0x013B] = "Mustermann"  # Artist
    buffer = io.BytesIO()
    Image.fromarray(radiographs.draw()).save(buffer, "JPEG", exif=exif, comment=b"comment-secret")
    return buffer.getvalue()


def png_with_secrets() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("PatientName", "Erika^1964")
    text.add_itxt("PatientID", "MRN-0815")
    buffer = io.BytesIO()
    Image.fromarray(radiographs.draw()).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def test_planted_names_appear_in_no_answer_log_or_metric(tiny_folder: Path, tmp_path: Path) -> None:
    films = [jpeg_with_secrets(), png_with_secrets()]
    assert all(any(secret.encode() in film for secret in SECRETS) for film in films), (
        "else nothing is planted"
    )
    damaged = [film[: len(film) // 2] for film in films] + [b"Erika^1964 Mustermann", b""]
    answers: list[str] = []
    with process(tiny_folder, tmp_path / "log", LOG_LEVEL="debug") as service:

        def note(answer: Any) -> None:
            answers.append(f"{answer.headers} {answer.content!r}")

        for film in films + damaged:
            for route in (
                "/predict",
                "/predict?explain=true",
                "/explain",
                "/Mustermann",
                "/predict?q=ward-secret",
            ):
                note(service.client.post(route, files={"file": (NAME, film, "image/jpeg")}))
            note(service.client.post("/predict", files={"MRN-0815": (NAME, film)}))
            note(service.client.post("/predict/batch", files=[("files", (NAME, film))] * 2))
        note(service.client.post("/predict?explain=Mustermann", files={"file": (NAME, films[0])}))
        note(service.client.get("/problems/ward-secret"))
        tensor = {"name": "Mustermann", "datatype": "MRN-0815", "shape": [1], "data": ["Erika^1964"]}
        for model in ("tiny", "ward-secret", "tiny/versions/ward-secret"):
            note(service.client.get(f"/v2/models/{model}?q=ward-secret"))
            note(service.client.post(f"/v2/models/{model}/infer", content=films[0]))
            note(
                service.client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor], "id": "MRN-0815"})
            )
        note(service.client.get("/metrics"))
        everything = "\n".join(answers) + service.log.read_text()
    assert "unreadable-image" in everything, "the damaged ones were answered"
    for secret in SECRETS:
        assert secret not in everything


def test_an_upload_never_touches_a_disk(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a temporary file was opened")

    film = radiographs.png(radiographs.draw(1600, 1600))
    assert len(film) > MultiPartParser.spool_max_size, "a smaller one would stay in memory anyway"
    with running(Settings(model_dir=tiny_folder)) as live:
        monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
        monkeypatch.setattr(tempfile, "_get_default_tempdir", refuse)
        assert live.predict(film).status_code == 200
        answer = live.client.post("/predict/batch", files=[("files", film)] * 2)
        assert [item.get("status") for item in answer.json()] == [None, None]


def test_the_disk_test_would_notice(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    real = tempfile.TemporaryFile

    def note(*args: Any, **kwargs: Any) -> Any:
        opened.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(tempfile, "TemporaryFile", note)
    monkeypatch.setattr(forms._InMemoryParser, "spool_max_size", 1024)
    with running(Settings(model_dir=tiny_folder)) as live:
        assert live.predict(radiographs.png(radiographs.draw(400, 400))).status_code == 200
    assert opened


def test_every_log_line_of_a_request_has_its_id(tiny_folder: Path, tmp_path: Path, film: bytes) -> None:
    with process(tiny_folder, tmp_path / "log") as service:
        answer = service.client.post("/predict", files={"file": film}, headers={"X-Request-ID": "abc-1"})
        assert answer.headers["x-request-id"] == "abc-1"

        def written() -> list[dict[str, Any]]:
            return [line for line in service.lines() if line.get("route") == "/predict"]

        wait_until(lambda: len(written()) == 1, "the line is written")
        (line,) = written()
    assert line["request_id"] == "abc-1"
    assert (line["method"], line["route"], line["status"]) == ("POST", "/predict", 200)
