"""Programs that some tests drive and that are no Python packages: a browser, Prometheus.

Such a test skips where its program is missing, so that `make test` passes on a machine with only Python and make.
Where REQUIRED_TOOLS in the environment names the program (comma-separated, as .ci/run has it), it fails instead.
"""

import os
import shutil

import pytest


def find_tool(name: str) -> str:
    """The path of the program `name`; ends the test where there is none."""
    path = shutil.which(name)
    if path is not None:
        return path
    if name in os.environ.get("REQUIRED_TOOLS", "").split(","):
        pytest.fail(f"{name} is not installed, and REQUIRED_TOOLS names it")
    pytest.skip(f"{name} is not installed")
