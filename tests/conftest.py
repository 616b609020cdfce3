"""What tests of every package may ask for."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import PREFIX
from tests import radiographs, tiny_model


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> None:
    for name in [name for name in os.environ if name.startswith((PREFIX, "OTEL_"))]:
        del os.environ[name]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with the tiny model in half precision."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "model.onnx").write_bytes(tiny_model.build())
    return folder


@pytest.fixture(scope="session")
def film() -> bytes:
    """A synthetic chest film as JPEG."""
    return radiographs.jpeg(radiographs.draw(seed=1, opacity=True))


@pytest.fixture
def model_folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder for a test's own model."""
    folder = tmp_path / "model"
    folder.mkdir()
    yield folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the real films are, for the tests that need them."""
    parser.addoption("--data", help="the public data set's folder")
    parser.addoption("--full-size", help="original films of its training split, in NORMAL and PNEUMONIA")
