"""Start a target as its users would, wait for its first answer, and end it with all that it started."""

import os
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from app.engine.model_file import INT8_FILE
from app.engine.providers import Device
from app.settings import PREFIX
from benchmarks.cores import all_cores, pinned
from benchmarks.environments import python_of
from benchmarks.targets import OWN, Target
from benchmarks.watch import tree

ROOT = Path(__file__).parents[1]
START_WITHIN_SECONDS = 180.0
STOP_WITHIN_SECONDS = 20.0
_POLL_SECONDS = 0.02


class DidNotStart(RuntimeError):
    """A server ended, or never answered, before its first answer. The message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What all targets have in common.

    `model`: the ONNX file, named as in the service's model folder. `input_size`: its side in pixels. `workers`:
    workers of those peers that have any, a core's worth of threads each. `folder`: for environments and logs.
    """

    model: Path
    input_size: int
    device: Device
    keras: Path | None
    workers: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers. `start_seconds`: from its process's start to the first film's answer."""

    target: Target
    url: str
    pid: int
    start_seconds: float

    def ask(self, film: bytes) -> float:
        """The probability that it gives a film."""
        request = self.target.request(film)
        with _client() as client:
            answer = client.post(self.url + request.path, content=request.body, headers=request.headers)
        return self.target.probability(answer.raise_for_status().json())


@contextmanager
def running(
    target: Target,
    setup: Setup,
    film: bytes,
    *,
    settings: Mapping[str, Any] | None = None,
    cores: Sequence[int] | None = None,
) -> Iterator[Running]:
    """A target that has answered `film` once, ended when the block ends.

    Args:
        target: what to start.
        setup: what all targets have in common.
        film: asked for again and again until it is answered.
        settings: of the service, by their names; peers have none.
        cores: the cores that it may run on, all of this process's if not given.

    Raises:
        DidNotStart: there was no answer within three minutes.
    """
    python = python_of(target.requirements, setup.folder / "environments", cuda=setup.device == "cuda")
    port = _free_port()
    log = setup.folder / "logs" / f"{target.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        started = time.monotonic()
        with pinned(cores or all_cores()):  # a child inherits it
            process = subprocess.Popen(  # noqa: S603 - our own
                [str(python), *(word.format(port=port) for word in target.arguments)],
                cwd=ROOT,
                env=_environment(target, setup, port, settings or {}),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        try:
            url = f"http://127.0.0.1:{port}"
            _await_answer(process, url, target, film, log)
            yield Running(target, url, process.pid, time.monotonic() - started)
        finally:
            _stop(process)


def _environment(target: Target, setup: Setup, port: int, settings: Mapping[str, Any]) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= {"ORT_DISABLE_TELEMETRY": "1", **target.environment}
    if target.name == OWN:
        own = {
            "model_dir": setup.model.parent,
            "precision": "int8" if setup.model.name == INT8_FILE else "float16",
            "device": setup.device,
            "port": port,
            **settings,
        }
        return environment | {PREFIX + name.upper(): str(value) for name, value in own.items()}
    libraries = str(sysconfig.get_config_var("LIBDIR"))
    environment |= {
        "BENCH_MODEL": str(setup.model.resolve()),
        "BENCH_INPUT_SIZE": str(setup.input_size),
        "BENCH_PORT": str(port),
        "BENCH_WORKERS": str(setup.workers),
        "BENCH_DEVICE": setup.device,
        # Ray's and BentoML's workers start elsewhere, and Triton's own program links to Python.
        "PYTHONPATH": str(ROOT),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, (libraries, os.environ.get("LD_LIBRARY_PATH")))),
        # What they would write into the home folder.
        "BENTOML_HOME": str((setup.folder / "bentoml").resolve()),
        "KERAS_HOME": str((setup.folder / "keras").resolve()),
    }
    if setup.keras:
        environment["BENCH_KERAS"] = str(setup.keras.resolve())
    return environment


def _client() -> httpx.Client:
    return httpx.Client(timeout=30, trust_env=False)


def _await_answer(process: subprocess.Popen[bytes], url: str, target: Target, film: bytes, log: Path) -> None:
    request = target.request(film)
    deadline = time.monotonic() + START_WITHIN_SECONDS
    with _client() as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise DidNotStart(f"{target.title} ended with {process.returncode}: {_end_of(log)}")
            try:
                answer = client.post(url + request.path, content=request.body, headers=request.headers)
            except httpx.TransportError:
                time.sleep(_POLL_SECONDS)
                continue
            if answer.status_code == httpx.codes.OK:
                return
            time.sleep(_POLL_SECONDS)
    raise DidNotStart(f"{target.title} did not answer within {START_WITHIN_SECONDS:.0f} s: {_end_of(log)}")


def _end_of(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").splitlines()[-5:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the first process to end; what of its tree is left after a while is killed."""
    members = tree(psutil.Process(process.pid)) if process.poll() is None else []
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for member in members:
        try:
            if member.is_running():
                member.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(members, timeout=STOP_WITHIN_SECONDS)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
