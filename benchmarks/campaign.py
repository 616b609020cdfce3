"""A campaign: the conditions that all rows share, and the rows, each a file as soon as it is measured."""

import hashlib
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import psutil
from pydantic import ValidationError

from app.engine.cores import usable_cores
from benchmarks.measure import Part

SOURCES = (Path(__file__).parents[1] / "app", Path(__file__).parent / "peers")
PACKAGES = ("fastapi", "uvicorn", "pillow", "numpy")

_COMMAND = "command"

Row = TypeVar("Row", bound=Part)


class OtherCampaign(RuntimeError):
    """The folder holds rows that were measured under other conditions."""


class Machine(Part):
    """What it was measured on."""

    processor: str
    cores: int
    memory_gib: float
    system: str


class Conditions(Part):
    """What all rows of a campaign have in common; where one of these differs, figures cannot be compared.

    `sources_sha256`: over the service's and the peers' own code.
    """

    films: str
    films_sha256: str
    model: str
    model_sha256: str
    device: str
    keras: bool
    workers: int
    seconds: float
    machine: Machine
    versions: dict[str, str]
    sources_sha256: str


class Beginning(Part):
    """How a campaign's folder begins."""

    started: datetime
    conditions: Conditions


class Campaign:
    """A folder of rows."""

    def __init__(self, folder: Path, conditions: Conditions) -> None:
        """Begin a campaign in `folder`, or go on with the one that is there.

        Raises:
            OtherCampaign: the one that is there was measured under other conditions.
        """
        self.folder = folder
        beginning = folder / "campaign.json"
        if not beginning.is_file():
            began = Beginning(started=datetime.now(UTC), conditions=conditions)
            folder.mkdir(parents=True, exist_ok=True)
            beginning.write_text(began.model_dump_json(indent=1) + "\n")
        found = read(Beginning, beginning)
        if found is None or found.conditions != conditions:
            raise OtherCampaign(
                f"{folder} holds a campaign with other conditions{_differences(found, conditions)}. Go on in "
                "another folder (--folder), or throw its rows away (--fresh)."
            )
        self.started, self.conditions = found.started, conditions

    def begin(self, part: str, command: str) -> None:
        """Note the command that measures `part`."""
        path = self.folder / part / _COMMAND
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(command)

    def command_of(self, part: str) -> str:
        """The command that last measured `part`."""
        return (self.folder / part / _COMMAND).read_text()

    def row(self, kind: type[Row], part: str, name: str, measure: Callable[[], Row]) -> Row:
        """The row `name` of `part`: from its file, or measured now and kept there."""
        path = self.folder / part / f"{name}.json"
        found = read(kind, path) if path.is_file() else None
        if found is None:
            found = measure()
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_text(found.model_dump_json(indent=1) + "\n")
            unfinished.replace(path)
        return found

    def rows(self, kind: type[Row], part: str) -> list[Row]:
        """All rows of `part` that there are, in the order of their names."""
        paths = sorted((self.folder / part).glob("*.json"))
        return [row for path in paths if (row := read(kind, path)) is not None]


def read(kind: type[Row], path: Path) -> Row | None:
    """What the file holds; None where an earlier version of this code wrote something else."""
    try:
        return kind.model_validate_json(path.read_text())
    except ValidationError:
        return None


def this_machine() -> Machine:
    """The machine that this runs on."""
    return Machine(
        processor=_processor(),
        cores=usable_cores(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.release().partition('-')[0]}, Python {platform.python_version()}",
    )


def these_versions(device: str) -> dict[str, str]:
    """Packages of this environment that the service's speed depends on."""
    runtime = "onnxruntime-gpu" if device == "cuda" else "onnxruntime"
    return {name: version(name) for name in (runtime, *PACKAGES)}


def sources_sha256() -> str:
    """SHA-256 over the code that is measured."""
    digest = hashlib.sha256()
    for path in sorted(path for source in SOURCES for path in source.rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}{_vectors(lines)}"


def _vectors(lines: list[str]) -> str:
    """The widest vector instructions, on which the speed of int8 depends."""
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    for flag, name in (("avx512_vnni", "AVX-512 VNNI"), ("avx_vnni", "AVX-VNNI"), ("avx2", "AVX2")):
        if flag in flags:
            return f" ({name})"
    return ""


def _differences(found: Beginning | None, conditions: Conditions) -> str:
    if found is None:
        return ""
    old: dict[str, Any] = dict(found.conditions)
    names = [name for name, value in conditions if old[name] != value]
    return f" ({', '.join(names)})"
