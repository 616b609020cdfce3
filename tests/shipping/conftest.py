"""A service as its users run it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.live import Process, process


@pytest.fixture(scope="session")
def service(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service in a process of its own."""
    with process(tiny_folder, tmp_path_factory.mktemp("service") / "log") as running:
        yield running
