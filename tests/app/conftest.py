"""Services to talk to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from tests.app.live import Gate, Live, gated, running


@pytest.fixture(scope="session")
def live(tiny_folder: Path) -> Iterator[Live]:
    """A service with the tiny model that many tests share."""
    with running(Settings(model_dir=tiny_folder)) as service:
        yield service


@pytest.fixture
def gated_live(tiny_folder: Path) -> Iterator[tuple[Live, Gate]]:
    """A service with room for three films, batches of two, and a gate before its device."""
    classifier, gate = gated(tiny_folder)
    settings = Settings(model_dir=tiny_folder, max_batch=2, max_queue=3, batch_wait_ms=0)
    with running(settings, classifier) as service:
        gate.batches.clear()
        try:
            yield service, gate
        finally:
            gate.open()
