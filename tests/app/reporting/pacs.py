"""A real Orthanc, a real service and a real bridge between them, each in a process of its own."""

import json
import os
import re
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any

import httpx
import pydicom
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from app.reporting.notes import Position
from app.reporting.orthanc import Orthanc
from tests.app.live import PATIENCE_SECONDS, ROOT, Process, wait_until
from tests.app.reporting import films

CONFIGURATION = ROOT / "deploy" / "orthanc" / "orthanc.json"
DICOM_WEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER = "pneumoscope"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Pacs:
    """An Orthanc with the shipped configuration, but for ports, folders and where Debian has its plugin.

    It listens on all interfaces, whatever it is told: hence the password, and films of nobody.
    """

    program: str
    folder: Path
    http_port: int = field(default_factory=free_port)
    dicom_port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.client = httpx.Client(base_url=self.url, auth=(USER, self.password), timeout=PATIENCE_SECONDS)
        self.log = self.folder / "orthanc.log"

    def start(self, storage: str = "storage") -> None:
        """Start it on what it has stored in that folder, and wait until it answers."""
        configuration = json.loads(CONFIGURATION.read_text())
        configuration |= {
            "StorageDirectory": str(self.folder / storage),
            "IndexDirectory": str(self.folder / storage),
            "Plugins": [str(DICOM_WEB)],
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
        }
        (self.folder / "orthanc.json").write_text(json.dumps(configuration))
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [self.program, self.folder / "orthanc.json"],
                env=os.environ | {"ORTHANC_PASSWORD": self.password},
                stdout=output,
                stderr=output,
            )
        wait_until(self._answers, f"Orthanc answers, see {self.log}")

    def _answers(self) -> bool:
        try:
            return self.client.get("/system").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, and wait until it has."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE_SECONDS)
            self.process = None

    def send(self, film: bytes) -> None:
        """Store a film by C-STORE, as a modality does."""
        dataset = films.opened(film)
        entity = AE()
        entity.add_requested_context(dataset.SOPClassUID, ExplicitVRLittleEndian)
        association = entity.associate("127.0.0.1", self.dicom_port)
        assert association.is_established
        status = association.send_c_store(dataset)
        association.release()
        assert status.Status == 0x0000

    def stow(self, film: bytes) -> None:
        """Store a film by DICOMweb."""
        boundary = secrets.token_hex(8)
        body = b"--%b\r\nContent-Type: application/dicom\r\n\r\n%b\r\n--%b--\r\n" % (
            boundary.encode(), film, boundary.encode(),
        )  # fmt: skip
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        answer = self.client.post("/dicom-web/studies", content=body, headers={"Content-Type": kind})
        assert answer.status_code == httpx.codes.OK, answer.text

    def instances(self, study: str) -> list[dict[str, Any]]:
        """The tags of what there is of a study, by its UID."""
        query = {"Level": "Instance", "Query": {"StudyInstanceUID": study}, "Expand": True}
        found: list[dict[str, Any]] = self.client.post("/tools/find", json=query).json()
        return found

    def results(self, study: str) -> list[str]:
        """The modalities of our results in a study, in order."""
        found = []
        for instance in self.instances(study):
            tags = self.client.get(f"/instances/{instance['ID']}/simplified-tags").json()
            if tags.get("Manufacturer") == "Pneumoscope":
                found.append(tags["Modality"])
        return sorted(found)

    def report(self, study: str) -> pydicom.Dataset:
        """The report in a study, by DICOMweb."""
        answer = self.client.get("/dicom-web/instances", params={"StudyInstanceUID": study, "Modality": "SR"})
        (tags,) = answer.json()
        where = "/".join(
            f"{level}/{tags[tag]['Value'][0]}"
            for level, tag in (("studies", "0020000D"), ("series", "0020000E"), ("instances", "00080018"))
        )
        answer = self.client.get(
            f"/dicom-web/{where}", headers={"Accept": 'multipart/related; type="application/dicom"'}
        )
        return films.opened(_only_part(answer))

    def forget(self, study: str) -> None:
        """Delete a study."""
        (found,) = self.client.post(
            "/tools/find", json={"Level": "Study", "Query": {"StudyInstanceUID": study}}
        ).json()
        self.client.delete(f"/studies/{found}").raise_for_status()

    def last_change(self) -> int:
        """The number of its last change."""
        return int(self.client.get("/changes", params={"last": ""}).json()["Last"])

    def position(self, seq: int) -> Position:
        """How far the list of changes has been read once its change `seq` has."""
        return Orthanc(self.client).changes(seq - 1, limit=1).entries[0].position


def _only_part(answer: httpx.Response) -> bytes:
    header = Message()
    header["content-type"] = answer.headers["content-type"]
    boundary = str(header.get_param("boundary")).encode()
    part = answer.content.split(b"--" + boundary)[1]
    return part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")


@dataclass
class Reader:
    """The service, always on the same port."""

    model: Path
    folder: Path
    port: int = field(default_factory=free_port)
    process: Process | None = None

    def __post_init__(self) -> None:
        self.url = f"http://127.0.0.1:{self.port}"
        self.starts = 0

    @property
    def logs(self) -> str:
        """All that it has logged."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("service-*.log")))

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.starts += 1
        log = self.folder / f"service-{self.starts}.log"
        self.process = Process(self.model, log, PORT=str(self.port), LOG_LEVEL="debug")

    def stop(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.close()
            self.process = None


@dataclass
class BridgeProcess:
    """The bridge, as `python -m app orthanc` starts it."""

    pacs: Pacs
    reader: Reader
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.log = self.folder / "bridge.log"
        self.state = self.folder / "bridge.sqlite3"

    def start(self, **settings: str) -> None:
        """Start it."""
        given = {
            "ORTHANC_URL": self.pacs.url,
            "ORTHANC_USER": USER,
            "ORTHANC_PASSWORD": self.pacs.password,
            "ORTHANC_SERVICE_URL": self.reader.url,
            "ORTHANC_STATE": str(self.state),
            "ORTHANC_POLL_S": "0.1",
            "LOG_LEVEL": "debug",
        } | settings
        environment = os.environ | {f"PNEUMOSCOPE_{name}": value for name, value in given.items()}
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "app", "orthanc"],
                cwd=ROOT, env=environment, stdout=output, stderr=output,
            )  # fmt: skip

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; its exit code."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        process.send_signal(number)
        return process.wait(PATIENCE_SECONDS)

    def lines(self, message: str) -> list[dict[str, Any]]:
        """The whole lines of its log with that message."""
        lines = [
            json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line[-1] == "\n"
        ]
        return [line for line in lines if re.search(message, line["message"])]

    def has_seen_all(self) -> bool:
        """Whether it has noted Orthanc's last change."""
        try:
            notes = sqlite3.connect(f"file:{self.state}?mode=ro", uri=True)
        except sqlite3.OperationalError:
            return False
        try:
            row = notes.execute("SELECT seq FROM position").fetchone()
        except sqlite3.OperationalError:
            return False  # it is about to make its tables
        finally:
            notes.close()
        return row is not None and row[0] == self.pacs.last_change()
