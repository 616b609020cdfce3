"""The files that ship, read for the tests."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
COMPOSE_GPU = ROOT / "docker-compose.gpu.yml"
GRAFANA = ROOT / "deploy" / "grafana"
ORTHANC = ROOT / "deploy" / "orthanc" / "orthanc.json"
PROMETHEUS = ROOT / "deploy" / "prometheus" / "prometheus.yml"
RULES = ROOT / "deploy" / "prometheus" / "rules"


def documents() -> list[Path]:
    """The pages at the root and below docs."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file whose top is a mapping."""
    content = yaml.safe_load(path.read_text())
    assert isinstance(content, dict)
    return content


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile, its continued lines joined."""

    name: str
    arguments: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.arguments)


def dockerfile_stages() -> list[list[Instruction]]:
    """The Dockerfile's instructions, a list for each stage; each begins with its FROM."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages: list[list[Instruction]] = []
    for line in filter(None, text.replace("\\\n", " ").splitlines()):
        name, _, arguments = line.partition(" ")
        if name == "FROM":
            stages.append([])
        stages[-1].append(Instruction(name, arguments.strip()))
    return stages


def image_environment() -> dict[str, str]:
    """The ENV of the final stage."""
    words = [word for step in dockerfile_stages()[-1] if step.name == "ENV" for word in step.words]
    return dict(word.split("=", 1) for word in words)


def only(name: str) -> Instruction:
    """The final stage's one instruction of that name."""
    (found,) = (step for step in dockerfile_stages()[-1] if step.name == name)
    return found
