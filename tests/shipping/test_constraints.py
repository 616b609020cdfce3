"""constraints.txt pins what pyproject.toml asks for, and what these tests run on."""

import re
import tomllib
from importlib import metadata
from itertools import chain

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.shipping.repository import ROOT
from tests.shipping.runtime_only import distributions

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = [
    line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")
]
PINS = {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in LINES}
ASKED = sorted({*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())})


def test_every_constraint_is_a_name_and_one_version() -> None:
    assert [line for line in LINES if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []


@pytest.mark.parametrize("asked", ASKED)
def test_a_requirement_is_pinned_within_its_bounds(asked: str) -> None:
    requirement = Requirement(asked)
    if canonicalize_name(requirement.name) == "pneumoscope":
        assert requirement.extras <= set(PROJECT["optional-dependencies"])
    elif requirement.name != "tensorflow":  # the same release as tensorflow-cpu, for other machines
        assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_these_tests_run_on_the_pinned_versions() -> None:
    installed = {name: metadata.version(name) for name in distributions("pneumoscope[dev]")}
    for name in ("pneumoscope", "pip"):  # pip, which pip-audit asks for, comes with the environment
        del installed[canonicalize_name(name)]
    assert installed == {name: PINS.get(name) for name in installed}


def test_both_hardwares_serve_with_the_same_onnxruntime() -> None:
    assert PINS[canonicalize_name("onnxruntime")] == PINS[canonicalize_name("onnxruntime-gpu")]
