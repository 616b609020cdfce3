"""Ten thousand damaged uploads over real connections: each is answered, and nothing of them stays behind.

Upload N is always the same bytes: where one is at fault, `upload(N)` makes it again.
"""

import functools
import http.client
import io
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from prometheus_client.parser import text_string_to_metric_families

from tests import dicom_films, radiographs
from tests.app.live import Process, process

UPLOADS = 10_000
WARM_UP = 2_000
CONNECTIONS = 6
GROWTH_BYTES = 16 * 1024 * 1024
SECRETS = ("Mustermann", "Erika^1964", "MRN-0815", "comment-secret")
FILE_NAME = "Mustermann_MRN-0815.jpg"
ANSWERS = {200, 400, 406, 413, 415, 422}
BOUNDARY = b"----------------pneumoscope"

FILM = radiographs.draw(48, 40)
DEEP = (FILM.astype(np.uint16) * 16).astype(np.uint16)


def jpeg_with_names(*, progressive: bool) -> bytes:
    exif = Image.Exif()
    exif[0x010E], exif[0x013B] = "Erika^1964", "Mustermann"
    buffer = io.BytesIO()
    Image.fromarray(FILM).save(buffer, "JPEG", exif=exif, comment=b"comment-secret", progressive=progressive)
    return buffer.getvalue()


def png_with_names(mode: str) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("PatientName", "Mustermann")
    text.add_itxt("PatientID", "MRN-0815")
    text.add_text("Comment", "comment-secret", zip=True)
    buffer = io.BytesIO()
    Image.fromarray(FILM).convert(mode).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


@functools.cache
def originals() -> tuple[tuple[bytes, ...], ...]:
    """Undamaged films: JPEG, PNG, DICOM."""
    names: dict[str, Any] = {
        "PatientName": "Mustermann^Erika^1964",
        "PatientID": "MRN-0815",
        "ImageComments": "comment-secret",
    }
    dicoms = [
        *(dicom_films.encoded(dicom_films.film(DEEP, bits=12, **names), it) for it in dicom_films.NATIVE),
        *(dicom_films.encoded(dicom_films.film(FILM, **names), it) for it in dicom_films.LOSSY_8_BIT),
    ]
    jpegs = [
        jpeg_with_names(progressive=False),
        jpeg_with_names(progressive=True),
        radiographs.jpeg(FILM, "CMYK"),
        radiographs.jpeg(FILM, "RGB", orientation=6),
    ]
    pngs = [
        *(png_with_names(mode) for mode in ("L", "P", "RGBA")),
        radiographs.png(FILM, "16 bit"),
        radiographs.interlaced_png(FILM),
        radiographs.animated_png(FILM),
    ]
    return tuple(jpegs), tuple(pngs), tuple(dicoms)


def damaged(data: bytes, random: np.random.Generator, *, most: int = 6) -> bytes:
    """`data` with one to `most` changes: bytes changed, removed, put in, doubled, swapped, or the rest cut off."""
    made = bytearray(data)
    for _ in range(random.integers(1, most + 1)):
        if len(made) < 4:
            break
        at = int(random.integers(0, len(made)))
        length = int(random.integers(1, 40))
        match random.integers(0, 7):
            case 0 | 1:
                made[at] = random.integers(0, 256)
            case 2:
                made[at] ^= 1 << int(random.integers(0, 8))
            case 3:
                del made[at : at + length]
            case 4:
                made[at:at] = random.bytes(length)
            case 5:
                made[at:at] = made[at : at + length] * int(random.integers(1, 50))
            case _:
                if random.random() < 0.3:
                    del made[max(at, 2) :]
                else:  # a number as big or as small as it can be
                    made[at : at + 4] = random.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
    return bytes(made)


@dataclass(frozen=True)
class Upload:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


def upload(number: int) -> Upload:
    """The upload of that number: a damaged film, or an undamaged one in a damaged form."""
    random = np.random.default_rng(number)
    kind = originals()[number % 3]
    film = kind[int(random.integers(0, len(kind)))]
    form_is_damaged = random.random() < 0.1
    if not form_is_damaged:
        film = damaged(film, random)
    path, field = [
        ("/predict", "file"),
        ("/predict", "file"),
        ("/predict?explain=true", "file"),
        ("/explain", "file"),
        ("/film", "file"),
        ("/predict/batch", "files"),
    ][int(random.integers(0, 6))]
    part = f'Content-Disposition: form-data; name="{field}"; filename="{FILE_NAME}"\r\n\r\n'.encode()
    body = b"--" + BOUNDARY + b"\r\n" + part + film + b"\r\n--" + BOUNDARY + b"--\r\n"
    if form_is_damaged:
        body = damaged(body, random, most=3)
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}
    if number % 3 == 2 and random.random() < 0.02:
        headers["Accept"] = "application/dicom"
    return Upload(path, headers, body)


@dataclass(frozen=True)
class Seen:
    """What the service told of itself at one moment."""

    resident_bytes: float
    open_handles: float


class Client:
    """A number of threads, each with one connection that it keeps, that send uploads and look at the answers."""

    def __init__(self, service: Process) -> None:
        self._address = service.url.removeprefix("http://")
        self._own = threading.local()
        self._connections: list[http.client.HTTPConnection] = []
        self.statuses: Counter[int] = Counter()
        self.faults: list[str] = []

    def send(self, number: int) -> None:
        """Send that upload and note what is wrong with its answer."""
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection(self._address, timeout=60)
            self._connections.append(self._own.connection)
        made = upload(number)
        try:
            self._own.connection.request("POST", made.path, made.body, made.headers)
            answer = self._own.connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._own.connection.close()
            self.faults.append(f"upload({number}) {made.path}: {type(error).__name__}: {error}")
            return
        self.statuses[answer.status] += 1
        if answer.status not in ANSWERS:
            self.faults.append(f"upload({number}) {made.path}: {answer.status} {content[:300]!r}")
        text = f"{answer.headers}"
        if answer.headers.get_content_type() != "application/dicom":  # a result belongs to its patient
            text += content.decode("latin-1")
        if any(secret in text for secret in SECRETS):
            self.faults.append(f"upload({number}) {made.path}: the answer repeats what the film says")

    def close(self) -> None:
        """End all connections."""
        for connection in self._connections:
            connection.close()


def seen(service: Process) -> Seen:
    """Its memory and its open file handles."""
    families = text_string_to_metric_families(service.client.get("/metrics").text)
    values = {family.name: family.samples[0].value for family in families if family.samples}
    return Seen(values["process_resident_memory_bytes"], values["process_open_fds"])


def deleted_files(service: Process) -> list[str]:
    """Files that it has open and that have no name any more."""
    folder = Path(f"/proc/{service.process.pid}/fd")
    targets = []
    for handle in folder.iterdir():
        try:
            targets.append(str(handle.readlink()))
        except FileNotFoundError:
            continue
    return [target for target in targets if target.endswith("(deleted)")]


@pytest.fixture
def service(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    """A service whose temporary files would lie in a folder of their own."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    with process(
        tiny_folder, tmp_path / "log", LOG_LEVEL="debug", MAX_WAIT_S="600", MAX_PIXELS="100000"
    ) as started:
        yield started


def test_ten_thousand_damaged_uploads_are_answered_and_leave_nothing_behind(
    service: Process, tmp_path: Path
) -> None:
    inherited = deleted_files(service)  # pytest's own, for what is printed
    good = {"file": ("film", originals()[0][0])}
    before = service.client.post("/predict", files=good).json()["probability"]
    results = service.client.post(
        "/predict", files={"file": originals()[2][0]}, headers={"Accept": "application/dicom"}
    )
    assert results.status_code == 200, "what results need is loaded before memory is looked at"
    states: list[Seen] = []
    with closing(Client(service)) as client, ThreadPoolExecutor(CONNECTIONS) as pool:
        for thousand in (range(first, first + 1000) for first in range(0, UPLOADS, 1000)):
            list(pool.map(client.send, thousand))
            states.append(seen(service))
            assert client.faults == []
    assert sum(client.statuses.values()) == UPLOADS
    assert client.statuses[200] > UPLOADS / 20, "else films are damaged beyond all interest"
    assert client.statuses[400] > UPLOADS / 20
    warm, rest = states[: WARM_UP // 1000], states[WARM_UP // 1000 :]
    assert max(state.open_handles for state in rest) <= max(state.open_handles for state in warm)
    assert rest[-1].resident_bytes <= max(state.resident_bytes for state in warm) + GROWTH_BYTES
    assert list((tmp_path / "temporary").iterdir()) == []
    assert deleted_files(service) == inherited
    assert service.client.post("/predict", files=good).json()["probability"] == before
    log = service.log.read_text()
    assert log.count('"answered"') >= UPLOADS
    assert [secret for secret in SECRETS if secret in log] == []
