"""The bridge between a real Orthanc and a real service: each result once, whoever is killed when."""

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from app.reporting.notes import Notes
from app.reporting.orthanc import MOST_TRIES, Away, Bridge, Orthanc
from app.reporting.orthanc import Reader as ServiceReader
from tests.app.live import ROOT, Gate, Live, wait_until
from tests.app.reporting import films
from tests.app.reporting.pacs import BridgeProcess, Pacs, Reader
from tests.required_tools import find_tool

BOTH = ["OT", "SR"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pacs")


@pytest.fixture(scope="module")
def pacs(folder: Path) -> Iterator[Pacs]:
    orthanc = Pacs(find_tool("Orthanc"), folder)
    orthanc.start()
    yield orthanc
    orthanc.stop()
    orthanc.client.close()


@pytest.fixture(scope="module")
def reader(tiny_folder: Path, folder: Path) -> Iterator[Reader]:
    service = Reader(tiny_folder, folder)
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def bridge(pacs: Pacs, reader: Reader, folder: Path) -> Iterator[BridgeProcess]:
    process = BridgeProcess(pacs, reader, folder)
    process.start()
    yield process
    process.stop()


def study_of(film: bytes) -> str:
    return str(films.opened(film).StudyInstanceUID)


def wait_for_results(pacs: Pacs, film: bytes) -> None:
    wait_until(lambda: pacs.results(study_of(film)) == BOTH, "report and heat map are stored")


def settle(bridge: BridgeProcess) -> None:
    """Wait until the bridge has seen everything that happened, its own results included."""
    wait_until(bridge.has_seen_all, "the bridge has seen all changes")


@pytest.mark.parametrize("way", ["C-STORE", "STOW"])
def test_a_film_gets_its_report_and_its_heat_map(pacs: Pacs, bridge: BridgeProcess, way: str) -> None:
    film = films.film(seed=1)
    (pacs.send if way == "C-STORE" else pacs.stow)(film)
    wait_for_results(pacs, film)
    report, source = pacs.report(study_of(film)), films.opened(film)
    assert report.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert report.PatientName == source.PatientName
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    (instance,) = evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert instance.ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_results_are_in_the_films_own_study_of_the_same_patient(pacs: Pacs, bridge: BridgeProcess) -> None:
    film = films.film(seed=2)
    pacs.send(film)
    wait_for_results(pacs, film)
    query = {"Level": "Study", "Query": {"StudyInstanceUID": study_of(film)}}
    assert len(pacs.client.post("/tools/find", json=query).json()) == 1


def test_a_film_that_is_sent_again_and_again_has_its_results_once(pacs: Pacs, bridge: BridgeProcess) -> None:
    film = films.film(seed=3)
    for _ in range(3):
        pacs.send(film)
        pacs.stow(film)
    wait_for_results(pacs, film)
    settle(bridge)
    assert pacs.results(study_of(film)) == BOTH


def test_two_films_of_a_study_have_two_results_each(pacs: Pacs, bridge: BridgeProcess) -> None:
    first = films.film(seed=4)
    second = films.film(seed=5, StudyInstanceUID=study_of(first), InstanceNumber=4)
    pacs.send(first)
    pacs.send(second)
    wait_until(lambda: pacs.results(study_of(first)) == sorted(BOTH * 2), "both have their results")


def test_what_is_no_chest_film_gets_nothing_and_keeps_nothing_waiting(
    pacs: Pacs, bridge: BridgeProcess
) -> None:
    tomogram = films.film(SOPClassUID=CTImageStorage, Modality="CT")
    others = [films.film(BodyPartExamined="KNEE"), tomogram, films.film(PixelData=b"\0\0")]
    for other in others:
        pacs.send(other)
    film = films.film(seed=6)
    pacs.send(film)
    wait_for_results(pacs, film)
    settle(bridge)
    assert [pacs.results(study_of(other)) for other in others] == [[], [], []]
    assert {line["code"] for line in bridge.lines("film refused")} == {"unsuitable-film", "unreadable-image"}


def test_a_film_of_a_patient_without_a_name_or_an_id_gets_its_results(
    pacs: Pacs, bridge: BridgeProcess
) -> None:
    for name in (None, "", "山田^太郎"):
        film = films.film(PatientName=name, PatientID=None, SpecificCharacterSet="ISO_IR 192")
        pacs.send(film)
        wait_for_results(pacs, film)


def test_a_killed_bridge_goes_on_where_it_was(pacs: Pacs, bridge: BridgeProcess) -> None:
    seen, unseen = films.film(seed=7), films.film(seed=8)
    pacs.send(seen)
    wait_for_results(pacs, seen)
    bridge.stop(signal.SIGKILL)
    pacs.send(unseen)
    pacs.send(seen)
    assert pacs.results(study_of(unseen)) == []
    bridge.start()
    wait_for_results(pacs, unseen)
    settle(bridge)
    assert pacs.results(study_of(seen)) == BOTH


def test_a_bridge_that_is_killed_at_its_work_leaves_nothing_out_and_nothing_double(
    pacs: Pacs, bridge: BridgeProcess
) -> None:
    first = films.film(seed=20)
    study = study_of(first)
    pacs.send(first)
    for seed in range(21, 26):
        pacs.send(films.film(seed=seed, StudyInstanceUID=study, InstanceNumber=seed))
    for results in (1, 4, 7):
        wait_until(lambda results=results: len(pacs.results(study)) >= results, "it is at work")  # type: ignore[misc]
        bridge.stop(signal.SIGKILL)
        bridge.start()
    wait_until(lambda: len(pacs.results(study)) >= 12, "all films have their results")
    settle(bridge)
    assert pacs.results(study) == sorted(BOTH * 6)


def test_a_bridge_without_its_notes_stores_nothing_twice(pacs: Pacs, bridge: BridgeProcess) -> None:
    film = films.film(seed=9)
    pacs.send(film)
    wait_for_results(pacs, film)
    settle(bridge)
    before = pacs.client.get("/statistics").json()["CountInstances"]
    bridge.stop()
    bridge.state.unlink()
    bridge.start()
    wait_until(bridge.state.exists, "it has begun new notes")
    settle(bridge)
    assert pacs.client.get("/statistics").json()["CountInstances"] == before


def test_a_killed_orthanc_is_waited_for(pacs: Pacs, bridge: BridgeProcess) -> None:
    film = films.film(seed=10)
    pacs.send(film)
    wait_for_results(pacs, film)
    pacs.stop(signal.SIGKILL)
    wait_until(lambda: bool(bridge.lines("Orthanc does not answer")), "the bridge notices")
    pacs.start()
    later = films.film(seed=11)
    pacs.send(later)
    pacs.send(film)
    wait_for_results(pacs, later)
    settle(bridge)
    assert pacs.results(study_of(film)) == BOTH


def test_a_service_that_is_down_is_waited_for(pacs: Pacs, reader: Reader, bridge: BridgeProcess) -> None:
    reader.stop()
    waiting = [films.film(seed=12), films.film(seed=13)]
    for film in waiting:
        pacs.send(film)
    wait_until(lambda: bool(bridge.lines("the service does not answer")), "the bridge notices")
    assert [pacs.results(study_of(film)) for film in waiting] == [[], []]
    reader.start()
    for film in waiting:
        wait_for_results(pacs, film)


def choke(pixels: Any) -> None:
    """Fail on a film, as a device does that runs black ones well."""
    if pixels.any():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_a_film_that_makes_the_device_fail_is_left_after_some_tries(
    pacs: Pacs, bridge: BridgeProcess, gated_live: tuple[Live, Gate], tmp_path: Path
) -> None:
    bridge.stop()
    live, gate = gated_live
    film = films.film(seed=19)
    settled = pacs.last_change()
    pacs.send(film)
    notes = Notes(tmp_path / "notes")
    notes.move_to(pacs.position(settled))
    patient = Bridge(Orthanc(pacs.client), ServiceReader(live.client), notes, max_bytes=10**7)
    gate.before = choke
    for _ in range(MOST_TRIES - 1):
        with pytest.raises(Away, match="device-failed"):
            patient.step(threading.Event())
    while not patient.step(threading.Event()):
        continue
    gate.before = lambda _: None
    assert pacs.results(study_of(film)) == []
    assert notes.position.seq >= settled
    notes.close()
    bridge.start()
    wait_for_results(pacs, film)


def test_a_film_that_was_deleted_and_comes_back_gets_its_results_again(
    pacs: Pacs, bridge: BridgeProcess
) -> None:
    film = films.film(seed=14)
    pacs.send(film)
    wait_for_results(pacs, film)
    settle(bridge)
    pacs.forget(study_of(film))
    pacs.send(film)
    wait_for_results(pacs, film)


def test_another_orthanc_at_the_same_address_is_read_from_its_first_change(
    pacs: Pacs, bridge: BridgeProcess
) -> None:
    old = films.film(seed=15)
    pacs.send(old)
    wait_for_results(pacs, old)
    bridge.stop()
    pacs.stop()
    pacs.start("another-storage")
    new = films.film(seed=16)
    for film in (new, old):
        pacs.send(film)
    bridge.start()
    for film in (new, old):
        wait_for_results(pacs, film)
    assert bridge.lines("are read from the first one")


def test_the_commands_of_the_how_to_send_a_film_and_find_its_report(
    pacs: Pacs, bridge: BridgeProcess, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "orthanc.md").read_text()
    (section,) = re.findall(r"^## Send a film, find the report\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    send, find = re.findall(r"^```\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    film = films.film(seed=26)
    (tmp_path / "film.dcm").write_bytes(film)

    def run(command: str) -> str:
        return subprocess.run(
            [
                "bash",
                "-euo",
                "pipefail",
                "-c",
                command.replace("localhost:8042", f"localhost:{pacs.http_port}"),
            ],
            cwd=tmp_path,
            env=os.environ | {"ORTHANC_PASSWORD": pacs.password},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    storescu, stow = send.split("\n\n")
    assert storescu.startswith("storescu "), "which not everybody has"
    run(stow.replace("curl ", f"{find_tool('curl')} "))
    wait_for_results(pacs, film)
    studies = [item["0020000D"]["Value"][0] for item in json.loads(run(find))]
    assert study_of(film) in studies


def test_a_refused_password_is_told_and_the_bridge_lives_on(
    pacs: Pacs, reader: Reader, bridge: BridgeProcess, tmp_path: Path
) -> None:
    locked_out = BridgeProcess(pacs, reader, tmp_path)
    locked_out.start(ORTHANC_PASSWORD="wrong")
    try:
        wait_until(
            lambda: locked_out.log.exists() and bool(locked_out.lines("refuses the bridge's user")),
            "it says so",
        )
        assert locked_out.process is not None
        assert locked_out.process.poll() is None
        assert "wrong" not in locked_out.log.read_text()
    finally:
        assert locked_out.stop() == 0


def test_notes_that_cannot_be_kept_are_told_in_one_line(bridge: BridgeProcess, tmp_path: Path) -> None:
    homeless = BridgeProcess(bridge.pacs, bridge.reader, tmp_path)
    homeless.start(ORTHANC_STATE=str(tmp_path / "nowhere" / "notes"))
    assert homeless.process is not None
    assert homeless.process.wait(60) == 2
    (line,) = homeless.log.read_text().splitlines()
    assert line.startswith("pneumoscope does not start: PNEUMOSCOPE_ORTHANC_STATE")


def test_sigterm_ends_the_bridge_with_0_and_it_can_be_started_again(
    pacs: Pacs, bridge: BridgeProcess
) -> None:
    assert bridge.stop() == 0
    film = films.film(seed=17)
    pacs.send(film)
    bridge.start()
    wait_for_results(pacs, film)


def test_nothing_of_the_patient_is_in_the_logs_or_the_notes(
    pacs: Pacs, reader: Reader, bridge: BridgeProcess
) -> None:
    film: Dataset = films.dataset(seed=18)
    pacs.send(films.part10(film))
    wait_for_results(pacs, films.part10(film))
    settle(bridge)
    assert bridge.lines("results stored")
    uids = (film.SOPInstanceUID, film.StudyInstanceUID, film.SeriesInstanceUID)
    everything = reader.logs + bridge.log.read_text() + bridge.state.read_bytes().decode("latin-1")
    everything += httpx.get(f"{reader.url}/metrics").text
    assert "answered" in everything, "else nothing was logged"
    for secret in (*films.SECRETS, *uids, pacs.password):
        assert secret not in everything
