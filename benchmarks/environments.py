"""A virtual environment for each peer, so that this project's own stays as small as it is."""

import hashlib
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
_INSTALL = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--requirement")


class InstallFailed(RuntimeError):
    """A peer's packages could not be installed."""


def python_of(requirements: str, folder: Path, *, cuda: bool = False) -> Path:
    """The interpreter of the environment for a requirements file, made and filled if it is not there yet.

    Args:
        requirements: name of a file in `benchmarks/peers`; empty for the environment that this runs in.
        folder: where environments lie.
        cuda: install `onnxruntime-gpu` with its CUDA libraries instead of `onnxruntime`.

    Raises:
        InstallFailed: pip could not install it; the message holds its last line.
    """
    if not requirements:
        return Path(sys.executable)
    wanted = (PEERS / requirements).read_text()
    if cuda:
        wanted = wanted.replace("onnxruntime==", "onnxruntime-gpu[cuda,cudnn]==")
    digest = hashlib.sha256(wanted.encode()).hexdigest()
    environment = (folder / Path(requirements).stem).resolve()
    python, stamp = environment / "bin" / "python", environment / "installed"
    if stamp.is_file() and stamp.read_text() == digest:
        return python
    _run(sys.executable, "-m", "venv", "--clear", str(environment))
    listed = environment / "requirements.txt"
    listed.write_text(wanted)
    _run(str(python), *_INSTALL, str(listed))
    stamp.write_text(digest)
    return python


def versions(requirements: str, names: tuple[str, ...]) -> dict[str, str]:
    """What a requirements file pins of the packages in `names`."""
    lines = (PEERS / requirements).read_text().splitlines() if requirements else []
    pins = dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))
    return {name: pins[name] for name in names}


def _run(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip().splitlines() or ["it said nothing"]
        raise InstallFailed(f"{' '.join(command)}: {said[-1]}")
