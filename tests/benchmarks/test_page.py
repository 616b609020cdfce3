import re
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.cli import portable
from benchmarks.publish import publish
from benchmarks.statistics import Spread
from tests.benchmarks.rows import campaign
from tests.shipping.repository import ROOT

DOCUMENT = ROOT / "docs" / "performance.md"


def block(text: str, name: str) -> str:
    (content,) = re.findall(
        f"<!-- benchmark:{name} -->\n(.*?)<!-- /benchmark:{name} -->", text, flags=re.DOTALL
    )
    return str(content)


def test_a_block_is_replaced_and_nothing_else() -> None:
    text = "before\n<!-- benchmark:a -->\nold\n<!-- /benchmark:a -->\nafter\n"
    filled = page.fill(text, "a", r"new \1")
    assert filled == "before\n<!-- benchmark:a -->\n\nnew \\1\n\n<!-- /benchmark:a -->\nafter\n"
    assert page.fill(filled, "a", r"new \1") == filled


@pytest.mark.parametrize(
    "text", ["", 2 * "<!-- benchmark:a -->\n<!-- /benchmark:a -->\n", "<!-- benchmark:a -->\n"]
)
def test_a_page_without_exactly_one_such_block_is_refused(text: str) -> None:
    with pytest.raises(page.NoBlock):
        page.fill(text, "a", "new")


@pytest.mark.parametrize("name", page.NAMES)
def test_the_page_that_ships_has_every_block_filled_or_says_that_it_is_not(name: str) -> None:
    content = block(DOCUMENT.read_text(), name)
    assert content.strip() == "Not measured yet." or "| --- |" in content


@pytest.mark.parametrize(
    ("spread", "words"),
    [
        (Spread(41.234, 40.1, 42.0), "41.2 (40.1–42)"),
        (Spread(2.0, 2.0, 2.0), "2"),
        (Spread(1234.5, 1234.5, 1234.5), "1,234"),
        (Spread(0.0, 0.0, 0.0), "0"),
        (None, "–"),
    ],
)
def test_a_number_is_a_median_with_its_extremes(spread: Spread | None, words: str) -> None:
    assert page.number(spread) == words


def test_a_command_on_the_page_names_no_path_of_a_machine() -> None:
    shown = portable(["--films", "/home/me/films", "--folder=/tmp/x", "--keras", "runs/a.keras", "compare"])
    assert shown == "python -m benchmarks --films PATH --folder=PATH --keras runs/a.keras compare"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as it ships, filled with made-up rows."""
    folder = tmp_path_factory.mktemp("published")
    path = folder / "performance.md"
    path.write_text(DOCUMENT.read_text())
    assert publish(
        campaign(folder / "rows"),
        path,
        folder / "images",
    ) == list(page.NAMES)
    return path


def test_every_picture_of_the_page_is_drawn(published: Path) -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", published.read_text())
    assert {Path(picture).stem for picture in pictures} == {"compare", "stages", "scaling", "soak"}
    for picture in pictures:
        assert (published.parent / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", page.NAMES[1:])
def test_a_filled_block_says_command_machine_and_versions(published: Path, name: str) -> None:
    content = block(published.read_text(), name)
    assert f"`python -m benchmarks --films PATH {name}`" in content
    assert "a processor, 2 cores, 23.5 GiB" in content
    assert "onnxruntime 1.31.1" in content


def test_the_comparison_shows_each_server_under_each_load(published: Path) -> None:
    content = block(published.read_text(), "compare")
    for title in (
        "**Pneumoscope**",
        "LitServe 0.2.19",
        "Ray Serve 2.60.0",
        "BentoML 1.4.39",
        "PyTriton 0.7.0",
    ):
        assert content.count(f"| {title} |") == 6, "the overview and five loads"
    assert "| 42 (40–44) |" in content
    assert "| 2× |" in content


def test_the_stages_add_up_to_what_the_client_sees(published: Path) -> None:
    rows = re.findall(
        r"^\| (.+?) \| ([\d.]+) \| [\d.]+ \|$", block(published.read_text(), "stages"), re.MULTILINE
    )
    *parts, (whole, total), (_, added) = rows
    assert "as the client sees it" in whole
    assert sum(float(value) for _, value in parts) == pytest.approx(float(total))
    assert float(added) == 3


def test_every_target_of_the_plan_is_judged(published: Path) -> None:
    content = block(published.read_text(), "targets")
    assert "not measured" not in content
    assert content.count("| met |") + content.count("| **missed** |") == len(content.strip().splitlines()) - 2


def test_publishing_twice_changes_nothing(published: Path) -> None:
    before = published.read_text()
    publish(campaign(published.parent / "rows"), published, published.parent / "images")
    assert published.read_text() == before


def test_what_was_not_measured_stays_unfilled(tmp_path: Path) -> None:
    made = campaign(tmp_path / "rows")
    for part in ("compare", "bare", "stages", "scaling"):
        for row in (made.folder / part).glob("*.json"):
            row.unlink()
    path = tmp_path / "performance.md"
    path.write_text(DOCUMENT.read_text())
    assert publish(made, path, tmp_path / "images") == ["targets", "soak"]
    assert block(path.read_text(), "compare") == block(DOCUMENT.read_text(), "compare")
    assert "| not measured |" in block(path.read_text(), "targets")
