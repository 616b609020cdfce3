"""The Dockerfile: small, unprivileged, and true to the service's settings."""

import json
import re
import tomllib
from pathlib import PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from app.settings import PREFIX, Settings
from tests.shipping.repository import ROOT, Instruction, dockerfile_stages, image_environment, only

STAGES = dockerfile_stages()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COPIES = [
    step for stage in STAGES for step in stage if step.name == "COPY" and "--from" not in step.arguments
]
SOURCES = {source for step in COPIES for source in step.words[:-1]}


@pytest.mark.parametrize("stage", STAGES, ids=["build", "final"])
def test_the_base_is_pinned_to_a_python_that_the_project_supports(stage: list[Instruction]) -> None:
    version = re.fullmatch(r"python:(3\.\d+)-slim", stage[0].words[0])
    assert version
    assert SpecifierSet(PROJECT["requires-python"]).contains(version[1])


def test_the_dockerfile_needs_no_particular_builder() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for special in ("--mount", "--chmod", "--link", "<<", "# syntax"):
        assert special not in text


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_what_is_copied_exists(source: str) -> None:
    assert (ROOT / source).exists()


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == SOURCES
    assert {rule for rule in rules[1:] if not rule.startswith("!")} == {"**/__pycache__", "**/*.pyc"}


@pytest.mark.parametrize("hardware", ["cpu", "gpu"])
def test_the_hardware_is_an_extra_without_training_packages(hardware: str) -> None:
    assert any('".[${HARDWARE},dicom,tracing]"' in step.arguments for step in STAGES[0])
    needs = {Requirement(line).name for line in PROJECT["optional-dependencies"][hardware]}
    assert needs == {"cpu": {"onnxruntime"}, "gpu": {"onnxruntime-gpu"}}[hardware]


def test_the_cpu_image_is_the_default() -> None:
    assert [step.arguments for step in STAGES[0] if step.name == "ARG"] == ["HARDWARE=cpu"]


def test_it_runs_as_a_user_without_privileges_or_a_name() -> None:
    user, group = only("USER").arguments.split(":")
    assert int(user) >= 1000
    assert int(group) >= 1000


def test_it_starts_the_service_without_a_shell_in_between() -> None:
    assert json.loads(only("CMD").arguments) == ["python", "-m", "app"]
    assert only("STOPSIGNAL").arguments == "SIGTERM"


def test_its_environment_is_made_of_settings() -> None:
    settings = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in image_environment().items()
        if name.startswith(PREFIX)
    }
    assert set(settings) <= set(Settings.model_fields)
    chosen = Settings(**settings)  # type: ignore[arg-type]
    assert chosen.host == "0.0.0.0"
    assert chosen.port == int(only("EXPOSE").arguments)


def test_its_models_are_where_the_service_looks() -> None:
    (copied,) = (step for step in COPIES if step.words[0] == "models")
    own = PurePosixPath(Settings.model_fields["model_dir"].default)
    assert PurePosixPath(image_environment()["PNEUMOSCOPE_MODEL_DIR"]) == PurePosixPath(
        copied.words[-1]
    ) / own.relative_to("models")


def test_it_has_a_health_check_that_is_a_module_of_the_service() -> None:
    command = json.loads(only("HEALTHCHECK").arguments.partition("CMD ")[2])
    assert command == ["python", "-m", "app.healthcheck"]
