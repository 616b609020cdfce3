"""What documents and deployment files name is there."""

import re
from pathlib import Path

import pytest

from app.engine.manifest import Manifest
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


def slugs(page: Path) -> set[str]:
    """What GitHub calls the page's headings in an address."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", documents(), ids=by_name)
def test_every_link_to_a_heading_leads_to_one(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", document.read_text())
    pages = [(document.parent / page if page else document, heading) for page, heading in links]
    assert [heading for page, heading in pages if page.suffix == ".md" and heading not in slugs(page)] == []


def links_of(page: Path) -> list[str]:
    return [link for link in LINK.findall(page.read_text()) if "://" not in link]


def test_the_index_leads_to_every_page() -> None:
    docs = ROOT / "docs"
    pages = {path.name for path in [*docs.glob("*.md"), *docs.glob("*.ipynb")]} - {"README.md"}
    assert pages <= set(links_of(docs / "README.md"))
    assert "docs/README.md" in links_of(ROOT / "README.md")


def test_the_model_files_page_lists_every_entry_of_the_manifest_and_nothing_else() -> None:
    _, _, table = (ROOT / "docs" / "model_file.md").read_text().partition("| entry | meaning |")
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(listed) == sorted(Manifest.model_fields)
