"""docs/reliability.md names the test for each fault, and each test module here stands in it."""

import ast
import re
from pathlib import Path

import pytest

from tests.app.live import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[a-z_/]+\.py)::(\w+)`", PAGE)))
HERE = Path(__file__)


@pytest.mark.parametrize(("module", "name"), NAMED)
def test_a_test_that_the_page_names_is_there(module: str, name: str) -> None:
    tree = ast.parse((ROOT / module).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_module_of_faults_stands_in_the_page() -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in HERE.parent.glob("test_*.py") if path != HERE}
    assert modules <= {module for module, _ in NAMED}


def test_every_fault_has_a_promise_what_was_seen_and_a_test() -> None:
    table = PAGE.partition("| fault | promised | seen | test |\n| --- | --- | --- | --- |\n")[2]
    rows = table.partition("\n\n")[0].splitlines()
    assert len(rows) > 20
    for row in rows:
        _, fault, promised, seen, tests, _ = (cell.strip() for cell in row.split("|"))
        assert all((fault, promised, seen)), row
        assert re.fullmatch(r"(`tests/\S+::\w+`(, )?)+", tests), row
