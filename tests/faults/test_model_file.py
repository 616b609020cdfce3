"""The model file is not what it should be, or is swapped while it is served."""

import hashlib
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tiny_model
from tests.app.command_line import ROOT, command, environment
from tests.app.live import PATIENCE_SECONDS, process
from tests.faults.requests import post
from tests.required_tools import find_tool

GOOD = tiny_model.build()
OTHER = tiny_model.build(tiny_model.manifest(version="2"))


def start(folder: Path, *prefix: str, **settings: str) -> tuple[int, str]:
    """Exit code and standard error of a service that is not to start."""
    ended = subprocess.run(
        [*prefix, *command()],
        cwd=ROOT,
        env=environment(MODEL_DIR=str(folder), PORT="0", **settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return ended.returncode, ended.stderr


def sparse(path: Path) -> None:
    """A file that says it has a thousand times a thousand million bytes."""
    with path.open("wb") as file:
        file.truncate(10**12)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda path: path.write_bytes(GOOD[: len(GOOD) // 2]), "is not an ONNX model"),
    "empty": (lambda path: path.touch(), "is not an ONNX model"),
    "text": (lambda path: path.write_text("hello"), "is not an ONNX model"),
    "missing": (lambda path: None, "does not exist"),
    "a folder": (lambda path: path.mkdir(), "is not a file"),
    "a pipe that says nothing": (os.mkfifo, "is not a file"),
    "a device without an end": (lambda path: path.symlink_to("/dev/zero"), "is not a file"),
    "larger than any model": (sparse, "is larger than"),
    "without a manifest": (lambda path: path.write_bytes(tiny_model.build(metadata=None)), "no manifest"),
    "with another manifest": (
        lambda path: path.write_bytes(tiny_model.build(metadata="[" * 1_000_000)),
        "manifest is not valid",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_no_model_refuses_to_start_in_one_sentence(model_folder: Path, fault: str) -> None:
    make, complaint = FAULTS[fault]
    make(model_folder / "model.onnx")
    code, said = start(model_folder)
    assert code == 1
    assert complaint in said
    assert said.startswith("pneumoscope does not start: ")
    assert said.count("\n") == 1


def test_a_file_that_may_not_be_read_refuses_to_start(model_folder: Path) -> None:
    path = model_folder / "model.onnx"
    path.write_bytes(GOOD)
    path.chmod(0)
    prefix: list[str] = []
    if os.geteuid() == 0:  # who may read everything
        prefix = [find_tool("setpriv"), "--bounding-set=-dac_override,-dac_read_search"]
    code, said = start(model_folder, *prefix)
    assert (code, said.count("\n")) == (1, 1)
    assert "cannot be read: Permission denied" in said


def test_a_file_that_was_swapped_is_refused_at_start_where_its_hash_is_demanded(model_folder: Path) -> None:
    (model_folder / "model.onnx").write_bytes(OTHER)
    demanded = hashlib.sha256(GOOD).hexdigest()
    code, said = start(model_folder, MODEL_SHA256=demanded)
    assert code == 1
    assert f"{demanded} is demanded" in said


@pytest.mark.parametrize("swap", ["replaced", "overwritten", "truncated", "removed"])
def test_what_was_read_at_start_is_served_whatever_becomes_of_the_file(
    model_folder: Path, tmp_path: Path, film: bytes, swap: str
) -> None:
    path = model_folder / "model.onnx"
    path.write_bytes(GOOD)
    with process(model_folder, tmp_path / "log") as service:
        before = post(service, film).json()
        if swap == "replaced":
            new = model_folder / "new"
            new.write_bytes(OTHER)
            new.replace(path)
        elif swap == "overwritten":
            path.write_bytes(OTHER)
        elif swap == "truncated":
            os.truncate(path, 10)
        else:
            path.unlink()
        after = post(service, film).json()
        assert after["probability"] == before["probability"]
        assert after["model"] == before["model"]
        assert service.client.get("/model").json()["sha256"] == hashlib.sha256(GOOD).hexdigest()


def test_the_service_writes_nothing_beside_its_model(model_folder: Path, tmp_path: Path, film: bytes) -> None:
    path = model_folder / "model.onnx"
    path.write_bytes(GOOD)
    path.chmod(stat.S_IRUSR)
    with process(model_folder, tmp_path / "log") as service:
        assert post(service, film).status_code == 200
    assert [child.name for child in model_folder.iterdir()] == ["model.onnx"]
    assert path.read_bytes() == GOOD
