"""`make audit`: the bill of materials is whole and valid, and an audit that cannot take place fails."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.shipping.repository import ROOT
from tests.shipping.runtime_only import distributions

IN_THE_IMAGE = re.findall(r'"\.\[([^]]+)\]"', (ROOT / "Dockerfile").read_text())[0].replace(
    "${HARDWARE}", "cpu"
)
RUNTIME = {name: metadata.version(name) for name in distributions(f"pneumoscope[{IN_THE_IMAGE}]")}


def commands(**variables: str) -> list[list[str]]:
    """What `make audit` would run once its environment is there."""
    given = [f"{name}={value}" for name, value in variables.items()]
    told = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "audit", "DEV=", *given],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [shlex.split(line) for line in told.stdout.splitlines()]


def command(program: str, **variables: str) -> list[str]:
    (found,) = [words for words in commands(**variables) if words[0].endswith(f"/{program}")]
    return found


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The bill of materials of an environment that has what an installation has, by its metadata."""
    folder = tmp_path_factory.mktemp("audit")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/python3*/site-packages")
    for name in RUNTIME:
        source = Path(str(metadata.distribution(name)._path))  # type: ignore[attr-defined]
        shutil.copytree(source, packages / source.name)
    words = command("cyclonedx-py", AUDIT_VENV=str(environment))
    words[0] = str(Path(sys.executable).parent / "cyclonedx-py")
    words[words.index("sbom.cdx.json")] = str(folder / "sbom.cdx.json")
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    content: dict[str, Any] = json.loads((folder / "sbom.cdx.json").read_text())
    return content


def test_the_bill_is_valid_cyclonedx(bill: dict[str, Any]) -> None:
    version = SchemaVersion.from_version(bill["specVersion"])
    assert bill["bomFormat"] == "CycloneDX"
    assert JsonStrictValidator(version).validate_str(json.dumps(bill)) is None
    broken = {**bill, "components": [{"name": "nothing"}]}
    assert JsonStrictValidator(version).validate_str(json.dumps(broken)) is not None


def test_the_bill_names_each_package_of_an_installation_with_its_version_and_no_other(
    bill: dict[str, Any],
) -> None:
    listed = {component["name"].lower().replace("_", "-"): component for component in bill["components"]}
    root = bill["metadata"]["component"]
    assert root["name"] == "pneumoscope"
    expected = {name: version for name, version in RUNTIME.items() if name != "pneumoscope"}
    assert {name.replace(".", "-"): one["version"] for name, one in listed.items()} == expected
    assert [name for name, one in listed.items() if not one.get("purl", "").startswith("pkg:pypi/")] == []


def test_the_audit_covers_what_the_image_installs_from_the_same_constraints() -> None:
    installs = [words for words in commands() if "install" in words]
    assert [words[-3:] for words in installs] == [["--constraint", "constraints.txt", f".[{IN_THE_IMAGE}]"]]


def test_a_package_that_cannot_be_looked_up_fails_the_audit(tmp_path: Path) -> None:
    words = command("pip-audit")
    assert "--strict" in words
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("no-such-package-of-pneumoscope==1.0\n")
    words[0] = str(Path(sys.executable).parent / "pip-audit")
    words[words.index("--requirement") + 1] = str(requirements)
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    assert told.returncode != 0
    assert "No known vulnerabilities found" not in told.stdout
