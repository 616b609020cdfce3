import tomllib
from pathlib import Path

import pytest

import app
from tests import tiny_model
from tests.app.command_line import ROOT, run


@pytest.mark.parametrize(
    "command", [(), ("check",), ("predict", "film.jpg")], ids=["serve", "check", "predict"]
)
@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({"PORT": "x"}, 2, "PNEUMOSCOPE_PORT"),
        ({"MODEL_DIR": "/nowhere"}, 1, "The model folder /nowhere does not exist."),
        ({"DEVICE": "cuda"}, 1, "DEVICE=cuda"),
    ],
)
def test_a_wrong_start_is_refused_in_one_line(
    command: tuple[str, ...], settings: dict[str, str], code: int, said: str
) -> None:
    ended = run(*command, **settings)
    assert ended.returncode == code
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("pneumoscope does not start: ")
    assert said in ended.stderr
    assert ended.stdout == ""


def test_a_wrong_model_file_is_refused_in_one_line(model_folder: Path) -> None:
    (model_folder / "model.onnx").write_bytes(tiny_model.build(metadata=None))
    ended = run(MODEL_DIR=str(model_folder), LOG_LEVEL="error")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "it carries no manifest in its metadata." in ended.stderr


def test_check_says_what_would_be_served(tiny_folder: Path) -> None:
    ended = run("check", "--runs", "2", MODEL_DIR=str(tiny_folder), THRESHOLD="0.7", MAX_BATCH="2")
    assert ended.returncode == 0, ended.stderr
    said = dict(line.split(maxsplit=1) for line in ended.stdout.splitlines() if not line.startswith("batch"))
    assert said["model"] == "tiny 1, block means"
    assert said["threshold"] == "0.7 (overrides the model's own)"
    assert said["precision"] == "float16"
    assert said["traces"] == "off"
    assert said["provider"] == "cpu: the installed onnxruntime is built without CUDA"
    assert [line.split()[2] for line in ended.stdout.splitlines() if line.startswith("batch of")] == [
        "1",
        "2",
    ]


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert app.__version__ == project["version"]
