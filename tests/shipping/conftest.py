"""A service as its users run it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.live import Process, process
from tests.shipping.kubernetes import HARDWARE, VARIANTS, Rendered, installed, render


@pytest.fixture(scope="session")
def service(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service in a process of its own."""
    with process(tiny_folder, tmp_path_factory.mktemp("service") / "log") as running:
        yield running


@pytest.fixture(scope="session", params=VARIANTS)
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """The Kubernetes objects of each hardware, of each component with it, and of all components together."""
    return installed(tmp_path_factory.mktemp("overlay"), str(request.param))


@pytest.fixture(scope="session", params=sorted(HARDWARE))
def plain(request: pytest.FixtureRequest) -> Rendered:
    """The Kubernetes objects of each hardware, without components."""
    return Rendered(str(request.param), render(HARDWARE[str(request.param)]))
