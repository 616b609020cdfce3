"""`python -m app` in a process of its own, as a user types it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(**settings: str) -> dict[str, str]:
    """This process's environment with these settings of the service alone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PNEUMOSCOPE")}
    return kept | {f"PNEUMOSCOPE_{name}": value for name, value in settings.items()}


def command(*arguments: str) -> list[str]:
    """The command line as a list of words; a warning is an error."""
    return [sys.executable, "-W", "error", "-m", "app", *arguments]


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """What it prints with these settings, and how it ends."""
    return run_in(environment(**settings), *arguments)


def run_in(
    surroundings: dict[str, str], *arguments: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """What it prints in that environment, with that on its standard input, and how it ends."""
    ended = subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=surroundings,
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(
        ended.args, ended.returncode, ended.stdout.decode(), ended.stderr.decode()
    )
