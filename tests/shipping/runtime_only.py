"""`python -m tests.shipping.runtime_only`: the service, in an interpreter that lacks the developers' packages.

What no distribution of `pneumoscope[cpu]` brings cannot be imported, nor can this project's other packages.
"""

import runpy
import sys
from collections.abc import Sequence
from importlib import metadata
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

OTHER_ROOMS = {"training", "model_export", "bulk", "benchmarks"}

TRACING = {"opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto"}
"""What the extra `tracing` adds to a package that FastAPI itself brings a part of."""


def distributions(requirement: str) -> set[NormalizedName]:
    """Every distribution that `requirement` brings on this machine, itself included."""
    found: set[NormalizedName] = set()
    seen: set[tuple[NormalizedName, str]] = set()
    waiting = [Requirement(requirement)]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        found.add(name)
        for extra in ["", *wanted.extras]:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            needs = map(Requirement, metadata.requires(name) or ())
            waiting += [need for need in needs if not need.marker or need.marker.evaluate({"extra": extra})]
    return found


class Absent(MetaPathFinder):
    """Finds nothing, and keeps others from finding these modules."""

    def __init__(self, modules: set[str]) -> None:
        self.modules = modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if any(fullname == module or fullname.startswith(f"{module}.") for module in self.modules):
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def absent_modules() -> set[str]:
    """The modules that an installation of `pneumoscope[cpu]` would not have, by their top-level names mostly."""
    runtime = distributions("pneumoscope[cpu]")
    return (
        OTHER_ROOMS
        | TRACING
        | {
            module
            for module, owners in metadata.packages_distributions().items()
            if runtime.isdisjoint(map(canonicalize_name, owners))
        }
    )


if __name__ == "__main__":
    sys.meta_path.insert(0, Absent(absent_modules()))
    runpy.run_module("app", run_name="__main__", alter_sys=True)
