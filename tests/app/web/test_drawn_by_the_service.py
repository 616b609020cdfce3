"""Films that a browser does not show, or not as they are meant: the service draws them."""

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests import dicom_films, radiographs
from tests.app.live import Live
from tests.app.web.browser import choose, executable, seen, told, wait_for_film

pytestmark = pytest.mark.skipif(executable() is None, reason="needs Chromium: apt-get install chromium")

PIXELS = radiographs.draw(480, 400, seed=1, opacity=True)
DICOM = dicom_films.encoded(dicom_films.film(PIXELS))


def drawings(page: Page) -> list[str]:
    """Addresses of the pictures that the page will have asked for."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/film") else None)
    return asked


def looks_like(page: Page, pixels: radiographs.Pixels) -> bool:
    """Whether the film on screen, without its heat map, is `pixels`."""
    page.locator("#opacity").fill("0")
    page.locator("#fit").click()
    picture = seen(page, "#film")[..., 0].astype(float)
    height, width = picture.shape
    rows = (np.arange(height) * pixels.shape[0] / height).astype(int)
    columns = (np.arange(width) * pixels.shape[1] / width).astype(int)
    middle = (slice(height // 4, 3 * height // 4), slice(width // 4, 3 * width // 4))
    return bool(np.abs(picture - pixels[np.ix_(rows, columns)])[middle].mean() < 6)


def test_a_dicom_film_is_judged_and_shown(page: Page, live: Live) -> None:
    asked = drawings(page)
    choose(page, DICOM, names=["IM000001"])
    wait_for_film(page)
    expect(page.locator("#percent")).to_have_text(told(live.predict(DICOM).json()["probability"]))
    assert looks_like(page, PIXELS)
    assert asked == [f"{live.url}/film"]


def test_what_dicom_tells_against_the_film_is_told_in_words(page: Page, live: Live) -> None:
    grown_up = dicom_films.encoded(dicom_films.film(PIXELS, PatientAge="045Y", ViewPosition="LL"))
    reasons = [reason["words"] for reason in live.predict(grown_up).json()["reasons"]]
    assert len(reasons) >= 2
    choose(page, grown_up)
    expect(page.locator("#reasons li")).to_have_text(reasons)


def test_a_png_of_12_bits_is_not_shown_black(page: Page) -> None:
    asked = drawings(page)
    choose(page, radiographs.png(PIXELS, "12 bit"))
    wait_for_film(page)
    assert looks_like(page, PIXELS)
    assert len(asked) == 1


def test_a_film_is_drawn_once(page: Page) -> None:
    asked = drawings(page)
    choose(page, DICOM, DICOM)
    for _ in range(2):
        for place in (1, 2):
            page.get_by_role("button", name=f"film{place}.jpg").click()
            expect(page.locator("#film")).to_have_attribute("alt", f"Film film{place}.jpg")
            wait_for_film(page)
    assert len(asked) == 2


def test_a_browser_shows_an_ordinary_film_itself(page: Page) -> None:
    asked = drawings(page)
    choose(page, radiographs.jpeg(PIXELS))
    wait_for_film(page)
    assert looks_like(page, PIXELS)
    assert asked == []
