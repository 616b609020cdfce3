"""Schemathesis makes requests by the OpenAPI document, right and wrong ones, and holds the answers against it."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.keys import entry_of
from tests.app.command_line import ROOT, environment
from tests.app.live import process

# What OpenAPI cannot say: how long `data` is for its `shape`; and what the bytes behind the JSON are, so that
# whatever is generated as a binary body is refused.
CONFIGURATION = """
[generation]
max-examples = {examples}
deterministic = true
no-shrink = true

[parameters]
"path.model" = "tiny"
"path.version" = "1"

[[operations]]
include-path-regex = "/infer$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "413"]
"""
EXAMPLES = 15
FILM_ROUTES = ("/predict", "/predict/batch", "/explain", "/film", "/v2/models/{model}/infer")


@pytest.mark.parametrize("key", [None, "open sesame"], ids=["without keys", "with a key"])
def test_schemathesis_finds_nothing(tiny_folder: Path, tmp_path: Path, key: str | None) -> None:
    configuration = tmp_path / "schemathesis.toml"
    text = CONFIGURATION.format(examples=EXAMPLES)
    if key:
        text += f'\n[auth.openapi.APIKeyHeader]\napi_key = "{key}"\n'
    configuration.write_text(text)
    settings = {"API_KEYS": str(entry_of("tests", key))} if key else {}
    with process(tiny_folder, tmp_path / "log", MAX_WAIT_S="600", **settings) as service:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration), "--no-color"),
            *("run", f"{service.url}/openapi.json", "--checks", "all", "--continue-on-failure"),
        ]
        ended = subprocess.run(
            command,
            cwd=tmp_path,  # where it leaves its own files
            env={
                **environment(),
                "PYTHONPATH": str(ROOT),
                "SCHEMATHESIS_HOOKS": "tests.app.api.schemathesis_hooks",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        metrics = service.client.get("/metrics").text
        errors = [line for line in service.lines() if line["level"] == "error"]
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert errors == []
    for route in FILM_ROUTES:
        assert f'pneumoscope_request_seconds_count{{route="{route}",status="200"}}' in metrics, (
            "it gets so far"
        )
