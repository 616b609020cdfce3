"""The page on security names tests that are there, and containers are as it says."""

import ast
import hashlib
import json
import re
from importlib import resources
from typing import Any

import jsonschema
import pytest
import yaml

from tests.app.command_line import run
from tests.shipping.repository import COMPOSE, COMPOSE_GPU, ROOT, load_yaml, only

PAGE = (ROOT / "docs" / "security.md").read_text()
COLUMNS = ("threat", "remedy", "test", "what remains")


def threats() -> list[dict[str, str]]:
    """The rows of the table of threats."""
    section = PAGE.split("\n## Threats\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    assert tuple(rows[0]) == COLUMNS
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows[2:]]


def functions(path: str) -> set[str]:
    """Names of the functions in a module of tests; none where there is no such module."""
    file = ROOT / path
    tree = ast.parse(file.read_text()) if file.is_file() else ast.Module([], [])
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_table_of_threats_is_read() -> None:
    assert len(threats()) >= 30


@pytest.mark.parametrize("row", threats(), ids=lambda row: row["threat"])
def test_each_threat_has_a_remedy_a_rest_and_tests_that_exist(row: dict[str, str]) -> None:
    assert all(row.values())
    named = re.findall(r"`([^`]+)`", row["test"])
    assert named
    assert re.sub(r"`[^`]+`", "", row["test"]).strip() == ""
    for test in named:
        path, _, function = test.partition("::")
        assert function.startswith("test_")
        assert function in functions(path), f"{test} does not exist"


def test_a_test_that_does_not_exist_would_be_noticed() -> None:
    assert functions("tests/no_such_module.py") == set()
    assert "test_nothing" not in functions("tests/shipping/test_security.py")


SERVICES = [
    (file.name, name, service)
    for file in (COMPOSE, COMPOSE_GPU)
    for name, service in load_yaml(file)["services"].items()
]


@pytest.mark.parametrize(
    "service",
    [service for file, _, service in SERVICES if file == COMPOSE.name],
    ids=[name for file, name, _ in SERVICES if file == COMPOSE.name],
)
def test_a_container_cannot_change_itself_and_has_no_privilege(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"memory", "pids"} <= service["deploy"]["resources"]["limits"].keys()
    assert str(service.get("user", "nobody")).partition(":")[0] not in {"0", "root"}


@pytest.mark.parametrize(("file", "name", "service"), SERVICES)
def test_no_file_for_compose_gives_a_privilege_back(file: str, name: str, service: dict[str, Any]) -> None:
    taken = {"privileged", "cap_add", "network_mode", "pid", "ipc", "userns_mode", "devices", "cgroup_parent"}
    assert not taken & service.keys(), (file, name)
    volumes = [str(volume) for volume in service.get("volumes", ())]
    assert not [volume for volume in volumes if "docker.sock" in volume or volume.startswith("/:")]


def test_the_image_runs_as_a_user_of_no_rights() -> None:
    user, _, group = only("USER").arguments.partition(":")
    assert int(user) >= 1000
    assert int(group) >= 1000


def test_the_pages_commands_make_keys_of_the_shape_that_it_shows() -> None:
    block = PAGE.split("```console\n")[1].split("```")[0]
    command, *shown = block.splitlines()
    ended = run(*command.removeprefix("$ python -m app ").split())
    assert ended.returncode == 0

    def shape(text: str) -> str:
        return re.sub(r"[0-9a-f]{64}", "SHA256", re.sub(r"pneumoscope_[\w-]{43}", "KEY", text))

    assert shape(ended.stdout).splitlines() == [shape(line) for line in shown]
    key, entry = (line.split()[1] for line in shown)
    assert entry.split(":")[1] == hashlib.sha256(key.encode()).hexdigest()


def test_the_pages_file_for_compose_is_one() -> None:
    content = yaml.safe_load(PAGE.split("```yaml\n")[1].split("```")[0])
    schema = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(content, json.loads(schema.read_text()))
    assert content["services"].keys() <= load_yaml(COMPOSE)["services"].keys()
