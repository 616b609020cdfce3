"""What documents and deployment files name is there."""

import re
from pathlib import Path

import pytest

from app.settings import PREFIX, Settings
from tests.shipping.repository import COMPOSE, COMPOSE_GPU, ROOT, documents

VARIABLES = {PREFIX + name.upper() for name in Settings.model_fields}
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def by_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [*documents(), COMPOSE, COMPOSE_GPU, ROOT / "Dockerfile"], ids=by_name)
def test_every_variable_that_is_named_is_a_setting(path: Path) -> None:
    assert set(re.findall(rf"{PREFIX}[A-Z0-9_]+", path.read_text())) <= VARIABLES


@pytest.mark.parametrize("document", documents(), ids=by_name)
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    links = [link for link in LINK.findall(document.read_text()) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []
