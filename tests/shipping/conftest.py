"""A service as its users run it, and one that a Prometheus watches."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from model_export.reference import write_reference
from tests import radiographs
from tests.app.live import Process, process, wait_until
from tests.required_tools import find_tool
from tests.shipping.kubernetes import HARDWARE, VARIANTS, Rendered, installed, render
from tests.shipping.prometheus import PrometheusProcess, scraping

BAD_UPLOADS = 20


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


@dataclass(frozen=True)
class Watched:
    """A service and the Prometheus that scrapes it."""

    service: Process
    prometheus: PrometheusProcess
    film: bytes

    def use(self) -> None:
        """Every way to send films, and some uploads that are none."""
        client, upload = self.service.client, {"file": self.film}
        assert client.post("/predict", files=upload).status_code == httpx.codes.OK
        assert client.post("/explain", files=upload).status_code == httpx.codes.OK
        many = [("files", self.film), ("files", b"no film")]
        assert client.post("/predict/batch", files=many).status_code == httpx.codes.OK

    def misuse(self) -> None:
        """Uploads that are no films."""
        for _ in range(BAD_UPLOADS):
            refused = self.service.client.post("/predict", files={"file": b"no film"})
            assert refused.status_code == httpx.codes.UNSUPPORTED_MEDIA_TYPE


@pytest.fixture(scope="session")
def watched(tiny_folder: Path, film: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A service whose model has a reference, films and bad uploads that it was given, and what Prometheus saw."""
    find_tool("prometheus")
    folder = tmp_path_factory.mktemp("watched")
    films, model = folder / "films", folder / "model"
    films.mkdir()
    model.mkdir()
    for seed in range(4):
        (films / f"{seed}.png").write_bytes(radiographs.png(radiographs.draw(96, 80, seed=seed)))
    (model / "model.onnx").write_bytes((tiny_folder / "model.onnx").read_bytes())
    write_reference(model, films=films, data=None, source="four films that were drawn")
    with (
        process(model, folder / "log") as running,
        scraping(running.url, folder) as prometheus,
    ):
        pair = Watched(running, prometheus, film)
        # What is counted for the first time has no increase: once to be there, once more to grow.
        for _ in range(2):
            pair.use()
            pair.misuse()
            counted = running.client.get("/metrics").text
            refused = next(line for line in counted.splitlines() if 'reason="unsupported-image"' in line)
            scraped = f'pneumoscope_rejected_total{{reason="unsupported-image"}} >= {refused.split()[-1]}'
            wait_until(lambda query=scraped: bool(prometheus.query(query)), "it is scraped")  # type: ignore[misc]
        yield pair
