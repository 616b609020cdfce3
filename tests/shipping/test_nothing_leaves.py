"""onnxruntime reports to its maker unless told not to; it is told in every room that imports it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.live import process
from tests.shipping.repository import ROOT

OPT_OUTS = ("ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "CI")


def test_a_service_leaves_nothing_in_the_users_home(
    tiny_folder: Path, tmp_path: Path, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in (*OPT_OUTS, "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    with process(tiny_folder, tmp_path / "log") as service:
        assert service.client.post("/predict", files={"file": film}).status_code == 200
        service.terminate()
        service.process.wait()
    assert list(home.rglob("*")) == []


@pytest.mark.parametrize("module", ["app.engine.providers", "model_export"])
def test_reporting_is_off_in_every_package_that_imports_onnxruntime(module: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in OPT_OUTS}
    told = subprocess.run(
        [sys.executable, "-c", f"import os, {module}; print(os.environ['ORT_DISABLE_TELEMETRY'])"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "1\n"
