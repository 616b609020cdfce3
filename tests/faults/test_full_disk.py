"""No byte can be written to any disk, or the log has no reader."""

import contextlib
import fcntl
import json
import os
import pty
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

import numpy as np

from tests import radiographs
from tests.app.command_line import ROOT, command, environment
from tests.app.live import PATIENCE_SECONDS, process, wait_until
from tests.faults.requests import post
from tests.required_tools import find_tool


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def test_films_are_judged_where_nothing_can_be_written_to_a_disk(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500), np.uint8)
    large = radiographs.png(noise)
    assert len(large) > 2**21, "beyond the size from which libraries like to use temporary files"
    prefix = [find_tool("prlimit"), "--fsize=0"]
    log = os.open(tmp_path / "service", os.O_CREAT | os.O_WRONLY)
    with process(tiny_folder, tmp_path / "log", prefix=prefix, stderr=log, PORT=free_port()) as service:
        for one in (film, large):
            assert post(service, one).status_code == 200
            assert service.client.post("/explain", files={"file": one}).status_code == 200
        batch = service.client.post("/predict/batch", files=[("files", large)] * 3)
        assert [item["label"] for item in batch.json()] == [batch.json()[0]["label"]] * 3
    os.close(log)
    assert (tmp_path / "service").stat().st_size == 0


def test_a_log_on_a_full_disk_keeps_no_film_waiting(tiny_folder: Path, tmp_path: Path, film: bytes) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with process(tiny_folder, tmp_path / "log", stderr=full, PORT=free_port()) as service:
            for _ in range(3):
                assert post(service, film).status_code == 200
            service.terminate()
            assert service.process.wait(PATIENCE_SECONDS) == 0
    finally:
        os.close(full)


def test_a_log_whose_reader_has_gone_keeps_no_film_waiting(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with process(tiny_folder, tmp_path / "log", stderr=writer, PORT=free_port()) as service:
            for _ in range(3):
                assert post(service, film).status_code == 200
            service.terminate()
            assert service.process.wait(PATIENCE_SECONDS) == 0
    finally:
        os.close(writer)


def test_a_log_whose_reader_stalls_keeps_no_film_waiting(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    try:
        with process(tiny_folder, tmp_path / "log", stderr=writer, PORT=free_port()) as service:
            for _ in range(2 * 4096 // 100):  # more lines than the pipe holds
                assert service.client.get("/model").status_code == 200
            assert post(service, film).status_code == 200
            said = os.read(reader, 2**20)
            assert len(said) < 2**20
            after: list[bytes] = []

            def told() -> bool:
                assert service.client.get("/model").status_code == 200
                with contextlib.suppress(BlockingIOError):
                    after.append(os.read(reader, 2**20))
                return b'"log lines were lost"' in b"".join(after)

            wait_until(told, "the next line says how many were lost")
    finally:
        os.close(reader)
        os.close(writer)


def test_a_log_on_a_terminal_that_nobody_reads_keeps_no_film_waiting(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    keyboard, terminal = pty.openpty()
    os.set_blocking(keyboard, False)
    try:
        with process(tiny_folder, tmp_path / "log", stderr=terminal, PORT=free_port()) as service:
            for _ in range(200):  # more lines than the terminal holds
                assert service.client.get("/model").status_code == 200
            assert post(service, film).status_code == 200
            assert os.read(keyboard, 2**20)
            service.terminate()
            assert service.process.wait(PATIENCE_SECONDS) == 0
    finally:
        os.close(keyboard)
        os.close(terminal)


def test_a_service_without_standard_error_judges_films(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    prefix = ["sh", "-c", 'exec "$@" 2>&-', "sh"]
    with process(tiny_folder, tmp_path / "log", prefix=prefix, stderr=2, PORT=free_port()) as service:
        assert post(service, film).status_code == 200


class FakeOrthanc(BaseHTTPRequestHandler):
    """An Orthanc whose list of changes has one entry, number 7, as soon as the server says that there is."""

    def do_GET(self) -> None:
        """Answer with what comes after `since`."""
        since = int(parse_qs(urlsplit(self.path).query)["since"][0])
        server = cast("Server", self.server)
        server.asked.append(since)
        entry = {"ChangeType": "NewPatient", "ID": "x", "Seq": 7, "Date": "d"}
        entries = [entry] if server.changed and since < 7 else []
        body = json.dumps({"Changes": entries, "Last": 7 if server.changed else 0, "Done": True}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Serves `FakeOrthanc`."""

    changed = False
    asked: list[int]


def test_a_bridge_whose_notes_cannot_be_written_waits_and_goes_on(tmp_path: Path) -> None:
    find_tool("prlimit")
    with Server(("127.0.0.1", 0), FakeOrthanc) as orthanc:
        orthanc.asked = []
        thread = threading.Thread(target=orthanc.serve_forever)
        thread.start()
        settings = environment(
            ORTHANC_URL=f"http://127.0.0.1:{orthanc.server_port}",
            ORTHANC_STATE=str(tmp_path / "notes"),
            ORTHANC_POLL_S="0.05",
        )
        bridge = subprocess.Popen(command("orthanc"), cwd=ROOT, env=settings, stderr=subprocess.PIPE)
        try:
            wait_until(lambda: len(orthanc.asked) > 1, "the bridge asks")
            limit(bridge.pid, "0:unlimited")
            orthanc.changed = True
            seen = len(orthanc.asked)
            wait_until(lambda: len(orthanc.asked) > seen + 2, "it asks again and again")
            assert bridge.poll() is None
            assert 7 not in orthanc.asked, "what it has not noted it has not done"
            limit(bridge.pid, "unlimited:unlimited")
            wait_until(lambda: 7 in orthanc.asked, "it has noted the change")
            bridge.terminate()
            _, said = bridge.communicate(timeout=PATIENCE_SECONDS)
            assert bridge.returncode == 0
            assert b"disk" in said
            assert b"Traceback" not in said
        finally:
            bridge.kill()
            bridge.communicate()
            orthanc.shutdown()
            thread.join()


def limit(pid: int, size: str) -> None:
    """Let a process write files up to that size from now on."""
    subprocess.run(["prlimit", f"--pid={pid}", f"--fsize={size}"], check=True)
