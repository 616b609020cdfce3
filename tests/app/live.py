"""A real service on a real port: in a thread of this process, or in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx

from app.api.service import Service
from app.engine.classifier import Classifier
from app.engine.model_file import read_file
from app.engine.providers import Provider, open_session
from app.serving import DrainingServer, build_server
from app.settings import Settings

PATIENCE_SECONDS = 60.0
ROOT = Path(__file__).parents[2]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for `condition`; a test that waits for ever fails with `what` did not come true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.005)


def answer_on(client: socket.socket, request: bytes = b"") -> tuple[int, bytes]:
    """Status and body of one answer on a connection, after sending `request` or the rest of it."""
    client.sendall(request)
    answer = HTTPResponse(client)
    answer.begin()
    with answer:
        return answer.status, answer.read()


@dataclass
class Live:
    """A service that runs in a thread, and a client of it."""

    server: DrainingServer
    service: Service
    client: httpx.Client
    url: str

    def predict(self, film: bytes, **options: Any) -> httpx.Response:
        """POST one film to /predict."""
        return self.client.post("/predict", files={"file": ("film", film)}, **options)


@contextmanager
def running(settings: Settings, classifier: Classifier | None = None) -> Iterator[Live]:
    """A service with these settings, ready, on a free port, stopped at the end."""
    server = build_server(settings, classifier)
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), "the service starts")
        service = server.service
        if service is None:
            raise RuntimeError("the service did not start")
        wait_until(lambda: service.ready, "the service is ready")
        with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as client:
            yield Live(server, service, client, url)
    finally:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)
        listener.close()


class Gate:
    """Stands before a session: holds its runs back while closed, fails them while broken."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._open = threading.Event()
        self._open.set()
        self.broken = False
        self.before: Callable[[Any], None] = lambda _: None
        """Called with the pixels of each run, which fails if this does."""
        self.batches: list[int] = []

    def close(self) -> None:
        """Hold every further run back."""
        self._open.clear()

    def open(self) -> None:
        """Let the runs go."""
        self._open.set()

    def run(self, names: list[str], feed: dict[str, Any]) -> Any:
        """The session's answer, once the gate is open."""
        self.batches.append(len(feed["pixels"]))
        if not self._open.wait(PATIENCE_SECONDS):
            raise TimeoutError("the gate was never opened")
        if self.broken:
            raise RuntimeError("CUDA error: the device fell off the bus")
        self.before(feed["pixels"])
        return self._session.run(names, feed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def gated(folder: Path, **options: Any) -> tuple[Classifier, Gate]:
    """A classifier over the model in `folder` whose session stands behind a gate."""
    file = read_file(folder / "model.onnx")
    provider = Provider("cpu", "a test")
    gate = Gate(open_session(file.content, provider, threads=1))
    return Classifier(gate, file, provider, **options), gate


class Process:
    """The service in a process of its own, as a user starts it."""

    def __init__(
        self,
        folder: Path,
        log: Path,
        *,
        module: str = "app",
        prefix: Sequence[str] = (),
        stderr: int | None = None,
        **settings: str,
    ) -> None:
        """Start it, and wait until it is ready.

        Args:
            folder: the model's.
            log: where its log goes.
            module: what is run.
            prefix: a command that runs it.
            stderr: where its log goes instead; the setting PORT tells then where it listens.
            settings: the service's, without the prefix of their names.
        """
        self.log = log
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PNEUMOSCOPE")
        }
        environment |= {"PNEUMOSCOPE_MODEL_DIR": str(folder), "PNEUMOSCOPE_PORT": "0"}
        environment |= {f"PNEUMOSCOPE_{name}": value for name, value in settings.items()}
        command = [*prefix, sys.executable, "-W", "error", "-m", module]
        with log.open("wb") as stream:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=stderr or stream)
        try:
            if stderr is None:
                wait_until(lambda: self._url() is not None, "the service listens")
            self.url = f"http://127.0.0.1:{settings['PORT']}" if stderr else self._url() or ""
            self.client = httpx.Client(base_url=self.url, timeout=PATIENCE_SECONDS)
            wait_until(self._ready, "the service is ready")
        except TimeoutError:
            self.process.kill()
            self.process.wait(PATIENCE_SECONDS)
            raise

    def _ready(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(self.log.read_text())
        try:
            return self.client.get("/health/ready").status_code == 200
        except httpx.ConnectError:
            return False

    def _url(self) -> str | None:
        if self.process.poll() is not None:
            raise RuntimeError(self.log.read_text())
        for line in self.lines():
            if line["message"].startswith("listening on "):
                return str(line["message"]).removeprefix("listening on ")
        return None

    def lines(self) -> list[dict[str, Any]]:
        """The whole lines of its log so far."""
        return [
            json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line[-1] == "\n"
        ]

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """End it, however it is."""
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_SECONDS)


@contextmanager
def process(folder: Path, log: Path, **options: Any) -> Iterator[Process]:
    """The service in a process of its own, ready, killed at the end if it still runs. Options as `Process` has."""
    started = Process(folder, log, **options)
    try:
        yield started
    finally:
        started.close()
