"""The documents' pictures of the page."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.app.live import Live
from tests.app.web.browser import executable
from tests.shipping.repository import ROOT

MOST_BYTES = 200_000
PICTURES = {"page.png": (1280, 800), "page_dark.png": (1280, 800), "page_phone.png": (390, 844)}


@pytest.mark.skipif(executable() is None, reason="needs Chromium: apt-get install chromium")
def test_a_picture_can_be_taken_by_the_documented_command(live: Live, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    command = [sys.executable, "-m", "tests.app.web.picture", live.url, str(picture), "--films", "2"]
    subprocess.run(command, cwd=ROOT, check=True)
    with Image.open(picture) as taken:
        assert taken.size == (1280, 800)
    assert picture.stat().st_size < MOST_BYTES


@pytest.mark.parametrize(("name", "size"), PICTURES.items())
def test_the_documents_pictures_are_small(name: str, size: tuple[int, int]) -> None:
    picture = ROOT / "docs" / "images" / name
    with Image.open(picture) as taken:
        assert taken.size == size
    assert picture.stat().st_size < MOST_BYTES
