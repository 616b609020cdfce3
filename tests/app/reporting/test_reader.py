"""What the bridge makes of a service's answers, each from a real one."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.keys import entry_of
from app.reporting.orthanc import Away, FilmRefused, Orthanc, Reader
from app.settings import Settings
from tests import tiny_model
from tests.app.live import Gate, Live, running, wait_until
from tests.app.reporting import films
from tests.app.reporting.pacs import free_port

FILM = films.film(seed=3)


@pytest.fixture
def reader(live: Live) -> Iterator[Reader]:
    with httpx.Client(base_url=live.url) as client:
        yield Reader(client)


def test_a_film_has_a_report_and_a_capture(reader: Reader) -> None:
    assert [films.opened(result).Modality for result in reader.results(FILM)] == ["SR", "OT"]


def test_a_model_without_a_heat_map_leaves_the_report(model_folder: Path) -> None:
    (model_folder / "model.onnx").write_bytes(tiny_model.build(heatmap=False))
    with running(Settings(model_dir=model_folder)) as live:
        assert [films.opened(result).Modality for result in Reader(live.client).results(FILM)] == ["SR"]


@pytest.mark.parametrize(
    ("film", "code"),
    [
        (films.film(BodyPartExamined="KNEE"), "unsuitable-film"),
        (films.film(PixelData=b"\0\0"), "unreadable-image"),
        (films.film(StudyInstanceUID=None), "film-unidentified"),
        (b"no film", "no-dicom-result"),
    ],
    ids=["knee", "cut short", "no study", "text"],
)
def test_a_film_that_is_to_blame_is_refused_for_good(reader: Reader, film: bytes, code: str) -> None:
    with pytest.raises(FilmRefused) as refused:
        reader.results(film)
    assert str(refused.value) == code


def test_a_key_that_is_missing_is_not_the_films_fault(tiny_folder: Path) -> None:
    with running(Settings(model_dir=tiny_folder, api_keys=(entry_of("bridge", "hunter2"),))) as live:
        with pytest.raises(Away, match=r"401 \(key-refused\)") as away:
            Reader(live.client).results(FILM)
        assert not away.value.film_suspected
        with httpx.Client(base_url=live.url, headers={"X-API-Key": "hunter2"}) as client:
            assert len(Reader(client).results(FILM)) == 2


def test_another_server_at_the_address_is_not_the_films_fault(live: Live) -> None:
    with httpx.Client(base_url=f"{live.url}/nowhere") as client, pytest.raises(Away, match="404") as away:
        Reader(client).results(FILM)
    assert not away.value.film_suspected


@pytest.mark.parametrize("path", ["", "/nowhere"])
def test_another_server_is_not_taken_for_an_orthanc(live: Live, path: str) -> None:
    with httpx.Client(base_url=live.url + path) as client, pytest.raises(Away, match="no Orthanc answers"):
        Orthanc(client).changes(0)


def test_a_service_that_is_down_is_not_the_films_fault() -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with httpx.Client(base_url=nobody) as client, pytest.raises(Away, match="does not answer") as away:
        Reader(client).results(FILM)
    assert not away.value.film_suspected


def test_an_overrun_service_says_how_long_to_wait(gated_live: tuple[Live, Gate], film: bytes) -> None:
    live, gate = gated_live
    gate.close()
    senders = [threading.Thread(target=live.predict, args=(film,)) for _ in range(3)]
    for sender in senders:
        sender.start()
    wait_until(lambda: live.service.admission.taken == 3, "every place is taken")
    with pytest.raises(Away, match="429") as away:
        Reader(live.client).results(FILM)
    gate.open()
    for sender in senders:
        sender.join()
    assert away.value.retry_after is not None
    assert away.value.retry_after >= 1
    assert not away.value.film_suspected


def test_a_device_that_fails_may_fail_because_of_the_film(gated_live: tuple[Live, Gate]) -> None:
    live, gate = gated_live
    gate.broken = True
    with pytest.raises(Away, match=r"503 \(device-failed\)") as away:
        Reader(live.client).results(FILM)
    assert away.value.film_suspected
