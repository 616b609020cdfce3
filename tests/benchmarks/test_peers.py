"""Peers run in environments of their own; held here is that they are whole, pinned and asked rightly."""

import ast
import json
import re
import struct
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest

from benchmarks.environments import PEERS, python_of, versions
from benchmarks.targets import OWN, TARGETS, infer, multipart, multipart_jpeg
from tests.shipping.repository import ROOT

SERVERS = sorted(path for path in PEERS.glob("*.py") if path.stem not in ("__init__", "film", "model"))
REQUIREMENTS = sorted(PEERS.glob("*.txt"))
FEW_LINES = 75


def pins(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


@pytest.mark.parametrize("path", SERVERS, ids=lambda path: path.stem)
def test_a_peer_is_a_screen_of_code_with_its_documentation_named(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    assert len(text.splitlines()) <= FEW_LINES
    compile(tree, path.name, "exec")


@pytest.mark.parametrize("path", SERVERS, ids=lambda path: path.stem)
def test_a_peer_is_a_target_with_an_environment_of_its_own(path: Path) -> None:
    (target,) = (each for each in TARGETS.values() if each.requirements == f"{path.stem}.txt")
    assert any(f"benchmarks.peers.{path.stem}" in word for word in target.arguments)


def test_only_the_service_runs_in_this_environment() -> None:
    assert [target.name for target in TARGETS.values() if not target.requirements] == [OWN]
    assert {target.requirements for target in TARGETS.values()} - {""} == {path.name for path in REQUIREMENTS}


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.stem)
def test_every_package_of_a_peer_is_pinned(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.stem)
def test_peers_decode_and_infer_with_the_libraries_of_the_service(path: Path) -> None:
    constraints = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    shared = {"pillow", "onnxruntime", "keras", "tensorflow-cpu"} & pins(path).keys()
    assert {name: pins(path)[name] for name in shared} == {name: constraints[name] for name in shared}
    assert "pillow" in shared
    assert len(shared) > 1


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_the_versions_that_the_page_names_are_pinned(target: object) -> None:
    assert isinstance(target, type(TARGETS[OWN]))
    assert list(versions(target.requirements, target.versions)) == list(target.versions)


@pytest.mark.parametrize("build", [multipart, multipart_jpeg])
def test_a_form_carries_the_film_in_the_field_file(build: object) -> None:
    film = bytes(range(256)) * 3
    request = multipart(film) if build is multipart else multipart_jpeg(film)
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + request.body)
    parts = message.get_payload()
    assert isinstance(parts, list)
    (part,) = parts
    assert isinstance(part, Message)
    assert part.get_param("name", header="Content-Disposition") == "file"
    assert part.get_payload(decode=True) == film


def test_a_v2_request_carries_the_film_as_one_binary_element() -> None:
    request = infer(b"a film")
    length = int(request.headers["Inference-Header-Content-Length"])
    header, tensor = json.loads(request.body[:length]), request.body[length:]
    (described,) = header["inputs"]
    assert described["parameters"]["binary_data_size"] == len(tensor)
    assert tensor == struct.pack("<I", 6) + b"a film"


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("pneumoscope", {"probability": 0.25}),
        ("litserve", {"probability": 0.25}),
        ("bentoml", 0.25),
        ("bentoml", [0.25]),
        ("pytriton", {"outputs": [{"name": "probability", "data": [0.25]}]}),
    ],
)
def test_the_probability_is_found_in_an_answer(name: str, answer: object) -> None:
    assert TARGETS[name].probability(answer) == 0.25


def test_an_environment_that_is_there_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, ...]] = []

    def pretend(*command: str) -> None:
        made.append(command)
        (tmp_path / "ray_serve").mkdir(exist_ok=True)

    monkeypatch.setattr("benchmarks.environments._run", pretend)
    python = python_of("ray_serve.txt", tmp_path)
    assert python == tmp_path / "ray_serve" / "bin" / "python"
    assert len(made) == 2, "the environment, and what is in it"
    assert python_of("ray_serve.txt", tmp_path) == python
    assert len(made) == 2
    python_of("ray_serve.txt", tmp_path, cuda=True)
    assert len(made) == 4, "CUDA needs other packages"
    assert "onnxruntime-gpu[cuda,cudnn]==" in (tmp_path / "ray_serve" / "requirements.txt").read_text()
