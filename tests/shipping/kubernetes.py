"""The objects that `kubectl apply --kustomize` would send, read for the tests. No cluster is asked."""

import os
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from app.settings import PREFIX, Settings
from tests.required_tools import find_tool
from tests.shipping.repository import ROOT, image_environment

FOLDER = ROOT / "deploy" / "kubernetes"
HARDWARE = {"cpu": FOLDER / "base", "gpu": FOLDER / "overlays" / "gpu"}
COMPONENTS = sorted(path.parent.name for path in FOLDER.glob("components/*/kustomization.yaml"))
VARIANTS = [
    *HARDWARE,
    *(f"cpu+{component}" for component in COMPONENTS),
    "+".join(
        ["gpu", *(name for name in COMPONENTS if name != "model-claim")]
    ),  # there is one model at a time
]

Object = dict[str, Any]


def render(kustomization: Path) -> list[Object]:
    """What `kubectl kustomize` makes of a folder; fails where it complains or warns of anything."""
    told = subprocess.run(
        [find_tool("kubectl"), "kustomize", kustomization], capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stderr) == (0, ""), (
        "is kubectl older than 1.21, whose Kustomize knows no components?"
    )
    return [item for item in yaml.safe_load_all(told.stdout) if item]


def overlay(folder: Path, variant: str, **changes: Any) -> Path:
    """A user's own overlay in `folder`: a hardware and components, such as `gpu+ingress+api-keys`, and changes."""
    hardware, *components = variant.split("+")
    kustomization: Object = {
        "resources": [os.path.relpath(HARDWARE[hardware], folder)],
        "components": [os.path.relpath(FOLDER / "components" / name, folder) for name in components],
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return folder


@dataclass(frozen=True)
class Rendered:
    """One way to install the service."""

    variant: str
    objects: list[Object]

    def all(self, kind: str) -> list[Object]:
        return [item for item in self.objects if item["kind"] == kind]

    def one(self, kind: str, name: str = "pneumoscope") -> Object:
        """The object of that kind and name; ConfigMaps may have a hash behind theirs."""
        (found,) = (
            item
            for item in self.all(kind)
            if (
                item["metadata"]["name"].rpartition("-")[0]
                if kind == "ConfigMap"
                else item["metadata"]["name"]
            )
            == name
        )
        return found

    @cached_property
    def deployment(self) -> Object:
        found: Object = self.one("Deployment")["spec"]
        return found

    @cached_property
    def pod_labels(self) -> dict[str, str]:
        found: dict[str, str] = self.deployment["template"]["metadata"]["labels"]
        return found

    @cached_property
    def pod(self) -> Object:
        found: Object = self.deployment["template"]["spec"]
        return found

    @cached_property
    def container(self) -> Object:
        (found,) = self.pod["containers"]
        assert isinstance(found, dict)
        return found

    @cached_property
    def settings(self) -> dict[str, str]:
        found: dict[str, str] = self.one("ConfigMap", "pneumoscope-settings")["data"]
        return found


def installed(folder: Path, variant: str, **changes: Any) -> Rendered:
    """An overlay of that variant, written into `folder` and rendered."""
    return Rendered(variant, render(overlay(folder, variant, **changes)))


def loaded(settings: dict[str, str]) -> Settings:
    """The service's settings with these variables on top of the image's; what is no setting is left out."""
    chosen = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in (image_environment() | settings).items()
        if name.startswith(PREFIX)
    }
    return Settings(**{name: chosen[name] for name in chosen if name in Settings.model_fields})  # type: ignore[arg-type]


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector of the Kubernetes API takes in what has these labels; an empty one takes in all."""
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def mebibytes(quantity: str) -> float:
    """A quantity of memory in MiB."""
    units = {"Mi": 1, "Gi": 1024}
    return float(quantity[:-2]) * units[quantity[-2:]]
