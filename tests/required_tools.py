"""Programs that some tests drive and that are no Python packages: a browser, Prometheus.

A test skips where its program is missing, so that `make test` passes on a machine with only Python and make. Where
REQUIRED_TOOLS in the environment names programs (comma-separated, as .ci/run does), a missing one fails the run.
"""

import os
import shutil

import pytest


def find_tool(name: str) -> str:
    """The path of the program `name`; skips the test where there is none."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def required_tools() -> list[str]:
    """The programs without which this run shall fail."""
    return [name for name in os.environ.get("REQUIRED_TOOLS", "").split(",") if name]
