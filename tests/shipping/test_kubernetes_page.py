"""docs/kubernetes.md: its overlay, its commands and what they refer to, in the order in which they are told."""

import os
import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.shipping.kubernetes import COMPONENTS, Rendered, loaded, render
from tests.shipping.repository import ROOT
from tests.shipping.test_kubernetes import OLDEST, OLDEST_WITH_IMAGE_VOLUMES

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
COMMANDS = [
    shlex.split(line, comments=True)
    for language, block in FENCED
    if not language
    for line in block.replace("\\\n", " ").splitlines()
    if line
]
(OVERLAY,) = re.findall(r"```yaml\n# my-cluster/kustomization.yaml\n(.*?)```", PAGE, flags=re.DOTALL)


def of_gpus(text: str) -> str:
    """The overlay with what its comments say of GPUs."""
    text = re.sub(r"/base +# overlays/gpu on GPUs", "/overlays/gpu", text)
    return re.sub(r"newTag: cpu +# gpu on GPUs", "newTag: gpu", text)


@pytest.fixture(params=["cpu", "gpu"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Rendered:
    """What the page's overlay makes."""
    folder = tmp_path / "my-cluster"
    folder.mkdir()
    text = OVERLAY if request.param == "cpu" else of_gpus(OVERLAY)
    clone = os.path.relpath(ROOT, folder)
    (folder / "kustomization.yaml").write_text(text.replace("../pneumoscope/", f"{clone}/"))
    return Rendered(str(request.param), render(folder))


def option(command: list[str], name: str) -> str:
    """The value of an option in a command, empty where it is not there."""
    return command[command.index(name) + 1] if name in command else ""


def in_the_clone(path: str) -> Path:
    """A path of the page, which begins with the clone's folder."""
    return ROOT / path.removeprefix("pneumoscope/")


def test_its_overlay_takes_the_image_that_the_page_builds_for_that_hardware(way: Rendered) -> None:
    image = way.container["image"]
    (built,) = (item for item in COMMANDS if option(item, "--tag") == image and item[0] == "docker")
    hardware = option(built, "--build-arg") or "HARDWARE=cpu"
    assert {"cpu": "cpu", "gpu": "cuda"}[hardware.removeprefix("HARDWARE=")] == loaded(way.settings).device
    assert ["docker", "push", image] in COMMANDS


def test_its_overlay_changes_a_setting_and_the_host_and_leaves_the_log_whole(way: Rendered) -> None:
    settings = loaded(way.settings)
    assert (settings.rate_limit, settings.log_level) == ("600/minute", "info")
    (rule,) = way.one("Ingress")["spec"]["rules"]
    assert [rule["host"]] == way.one("Ingress")["spec"]["tls"][0]["hosts"] == ["films.hospital.example.org"]


def test_every_secret_that_its_overlay_needs_is_made_before_it_is_applied(way: Rendered) -> None:
    needed = {volume["secret"]["secretName"] for volume in way.pod["volumes"] if "secret" in volume}
    needed |= {item["secretName"] for item in way.one("Ingress")["spec"]["tls"]}
    applied = COMMANDS.index(["kubectl", "apply", "--kustomize", "my-cluster"])
    made = {item[6] for item in COMMANDS[:applied] if item[3:5] == ["create", "secret"]}
    assert needed == made == {"pneumoscope-api-keys", "pneumoscope-tls"}
    (first,) = (item for item in COMMANDS[:applied] if item[:3] == ["kubectl", "apply", "--filename"])
    namespace = yaml.safe_load(in_the_clone(first[3]).read_text())
    assert namespace["kind"] == "Namespace"
    assert {
        option(item, "--namespace") for item in COMMANDS[:applied] if item[3:5] == ["create", "secret"]
    } == {namespace["metadata"]["name"]}


def test_every_command_runs_beside_the_clone() -> None:
    words = [word for command in COMMANDS for word in command if re.search("deploy/|models/|overlays/", word)]
    assert words
    assert [word for word in words if not word.startswith("pneumoscope/")] == []
    # Version 2 of the model is the one that does not exist yet.
    named = [in_the_clone(word) for word in words if "models/pneumonia/2" not in word]
    assert [path for path in named if not path.exists()] == []


def test_nothing_but_an_overlay_of_the_users_is_applied() -> None:
    folders = [option(command, "--kustomize") for command in COMMANDS if "--kustomize" in command]
    assert folders == ["my-cluster"]
    assert "kubectl apply --kustomize deploy" not in (ROOT / "README.md").read_text()


def test_it_names_the_oldest_kubernetes() -> None:
    oldest, with_images = (".".join(text.split(".")[:2]) for text in (OLDEST, OLDEST_WITH_IMAGE_VOLUMES))
    assert f"Kubernetes {oldest} or newer" in PAGE
    assert f"Kubernetes {with_images} or newer" in PAGE


@pytest.mark.parametrize("component", COMPONENTS)
def test_it_tells_of_every_component(component: str) -> None:
    assert f"`{component}`" in PAGE
