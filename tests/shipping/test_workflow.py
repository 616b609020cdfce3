"""The files that GitHub reads: valid, and calling what people call."""

import json
import os
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests.shipping.repository import ROOT, dockerfile_stages

GITHUB = ROOT / ".github"
WORKFLOW = GITHUB / "workflows" / "ci.yml"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))


def workflow() -> dict[str, Any]:
    """The workflow, its scalars as strings: YAML 1.1 would take `on` for true."""
    content = yaml.load(WORKFLOW.read_text(), Loader=yaml.BaseLoader)
    assert isinstance(content, dict)
    return content


def steps() -> list[dict[str, Any]]:
    return [step for job in workflow()["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("github-workflows", WORKFLOW),
        *(("github-issue-forms", path) for path in FORMS),
        ("citation-file-format", ROOT / "CITATION.cff"),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else value,
)
def test_a_file_follows_its_schema(schema: str, path: Path) -> None:
    vendored = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / f"{schema}.json"
    content = yaml.safe_load(path.read_text())
    if True in content:  # what YAML 1.1 takes `on` for
        content["on"] = content.pop(True)
    jsonschema.validate(content, json.loads(vendored.read_text()))


def test_it_runs_what_people_run_and_nothing_else() -> None:
    commands = [step["run"] for step in steps() if "run" in step]
    assert ".ci/run" in commands
    assert [command for command in commands if not re.fullmatch(r"\.ci/run|make [a-z]+", command)] == []
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_every_change_is_tested() -> None:
    triggers = workflow()["on"]
    assert triggers["push"] == {"branches": ["main"]}
    assert triggers["pull_request"] == ""


def test_it_may_only_read() -> None:
    content = workflow()
    assert content["permissions"] == {"contents": "read"}
    assert [job for job in content["jobs"].values() if "permissions" in job] == []
    (checkout,) = (step for step in steps() if step.get("uses", "").startswith("actions/checkout@"))
    assert checkout["with"]["persist-credentials"] == "false"


def test_every_action_is_of_a_named_version() -> None:
    actions = [step["uses"] for step in steps() if "uses" in step]
    assert actions
    assert [action for action in actions if not re.fullmatch(r"[\w./-]+@(v\d+|[0-9a-f]{40})", action)] == []


def test_no_run_goes_on_for_ever() -> None:
    assert [job for job in workflow()["jobs"].values() if int(job["timeout-minutes"]) > 90] == []


def test_it_tests_every_python_that_is_promised_and_the_one_of_the_image() -> None:
    job = workflow()["jobs"]["test"]
    matrix = job["strategy"]["matrix"]
    oldest, newest = re.findall(r"Python 3\.(\d+) to 3\.(\d+)", (ROOT / "CONTRIBUTING.md").read_text())[0]
    promised = [f"3.{minor}" for minor in range(int(oldest), int(newest) + 1)]
    assert matrix == {"python": promised}
    assert job["strategy"]["fail-fast"] == "false"
    assert job["container"]["image"] == "python:${{ matrix.python }}-bookworm"
    assert SpecifierSet(PROJECT["requires-python"]).contains(promised[0])
    assert not SpecifierSet(PROJECT["requires-python"]).contains(f"3.{int(oldest) - 1}")
    image = {
        step.arguments.split()[0] for stage in dockerfile_stages() for step in stage if step.name == "FROM"
    }
    assert image <= {f"python:{version}-slim" for version in promised}


def test_what_its_runs_keep_is_kept_apart() -> None:
    (cache,) = (step["with"] for step in steps() if step.get("uses", "").startswith("actions/cache@"))
    (kept,) = (
        step["with"] for step in steps() if step.get("uses", "").startswith("actions/upload-artifact@")
    )
    for name in (cache["key"], cache["restore-keys"], kept["name"]):
        assert "${{ matrix.python }}" in name


def test_its_kubectl_can_build_the_manifests() -> None:
    (setup,) = (step for step in steps() if "setup-kubectl" in step.get("uses", ""))
    assert Version(setup["with"]["version"]) >= Version("1.21")


def test_the_citation_is_of_this_version_and_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
