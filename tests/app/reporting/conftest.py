"""A film, what the tiny model says of it, and what checks the results."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app.engine.classifier import Classifier
from app.engine.finding import Finding
from app.imaging import read
from tests.required_tools import find_tool

Judge = Callable[[bytes], Finding]
Check = Callable[[bytes], list[str]]


@pytest.fixture(scope="session")
def classifier(tiny_folder: Path) -> Classifier:
    """The tiny model."""
    return Classifier.open(tiny_folder)


@pytest.fixture(scope="session")
def judge(classifier: Classifier) -> Judge:
    """What it says of a film."""

    def judged(film: bytes) -> Finding:
        (finding,) = classifier.classify([read(film, size=classifier.input_size)])
        assert isinstance(finding, Finding)
        return finding

    return judged


@pytest.fixture
def errors_of(tmp_path: Path) -> Check:
    """The errors that dciodvfy finds in a DICOM file."""
    program = find_tool("dciodvfy")

    def check(content: bytes) -> list[str]:
        path = tmp_path / "checked.dcm"
        path.write_bytes(content)
        told = subprocess.run([program, path], capture_output=True, check=False)
        lines = (told.stdout + told.stderr).decode(errors="replace").splitlines()
        assert lines, "it says at least what kind of object it is"
        return [line for line in lines if line.startswith("Error")]

    return check
