"""The page for every eye and hand: axe, both themes, from a phone to a wall, without motion, without a mouse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, expect

from app.keys import entry_of
from app.settings import Settings
from tests import radiographs
from tests.app.live import Gate, Live, running, wait_until
from tests.app.web.browser import choose, executable, opened, seen, wait_for_film

pytestmark = pytest.mark.skipif(executable() is None, reason="needs Chromium: apt-get install chromium")

FILM = radiographs.jpeg(radiographs.draw(seed=1, opacity=True) // 2 + 110)
WHITE = radiographs.png(np.full((64, 64), 255, np.uint8))
DARK = radiographs.jpeg(radiographs.draw(seed=2) // 4)

PHONE: ViewportSize = {"width": 360, "height": 740}
TABLET: ViewportSize = {"width": 768, "height": 1024}
DESK: ViewportSize = {"width": 1280, "height": 800}
WALL: ViewportSize = {"width": 3840, "height": 2160}


def empty(page: Page) -> None:
    expect(page.locator("#model")).to_be_visible()


def result(page: Page) -> None:
    choose(page, FILM)
    wait_for_film(page)
    page.locator("#model summary").click()
    page.locator(".help summary").click()


def review(page: Page) -> None:
    choose(page, WHITE)
    expect(page.locator("#review")).to_be_visible()


def error(page: Page) -> None:
    choose(page, b"Dear colleague")
    expect(page.locator("#problem")).to_be_visible()


def many(page: Page) -> None:
    choose(page, FILM, DARK, WHITE, b"Dear colleague", FILM)
    expect(page.locator("#film-list .share:not(:empty)")).to_have_count(4)
    expect(page.locator("#summary")).to_contain_text("1 with a problem")
    page.get_by_role("button", name="film1.jpg").focus()


STATES: list[Callable[[Page], None]] = [empty, result, review, error, many]


def complaints(page: Page) -> list[str]:
    """What axe finds, with where."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(
    browser: Browser, live: Live, state: Callable[[Page], None], theme: Literal["light", "dark"]
) -> None:
    # axe is put into the page as a script, which the page's policy does not allow.
    with opened(browser, live.url, refusals=True, color_scheme=theme, bypass_csp=True) as page:
        state(page)
        assert complaints(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_while_films_are_read(
    browser: Browser, gated_live: tuple[Live, Gate], theme: Literal["light", "dark"]
) -> None:
    live, gate = gated_live
    gate.close()
    with opened(browser, live.url, refusals=True, color_scheme=theme, bypass_csp=True) as page:
        choose(page, FILM, DARK, WHITE)
        wait_until(lambda: live.service.admission.taken == 2, "two films are sent")
        expect(page.locator("#busy")).to_be_visible()
        assert complaints(page) == []
        page.locator("#cancel").click()
        expect(page.locator("#cancelled")).to_be_visible()
        assert complaints(page) == []


def test_axe_finds_nothing_where_a_key_is_asked_for(browser: Browser, tiny_folder: Path) -> None:
    with (
        running(Settings(model_dir=tiny_folder, api_keys=(entry_of("ward", "open sesame"),))) as live,
        opened(browser, live.url, refusals=True, bypass_csp=True) as page,
    ):
        expect(page.locator("#key-card")).to_be_visible()
        assert complaints(page) == []


def test_axe_sees_what_is_wrong(browser: Browser, live: Live) -> None:
    with opened(browser, live.url, bypass_csp=True) as page:
        page.evaluate("document.querySelector('#model-name').style.color = '#eee'")
        empty(page)
        assert [told for told in complaints(page) if told.startswith("color-contrast")]


@pytest.mark.parametrize("state", STATES)
def test_nothing_is_wider_than_the_screen(
    browser: Browser, live: Live, state: Callable[[Page], None]
) -> None:
    with opened(browser, live.url, refusals=True) as page:
        state(page)
        for viewport in (PHONE, TABLET, DESK, WALL):
            page.set_viewport_size(viewport)
            assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], viewport
            sides = page.evaluate(
                """[...document.querySelectorAll("button, input, select, summary")]
                  .filter((control) => control.checkVisibility())
                  .map((control) => control.getBoundingClientRect())
                  .map(({ left, right }) => [left, right])"""
            )
            assert sides
            assert min(left for left, _ in sides) >= 0, viewport
            assert max(right for _, right in sides) <= viewport["width"], viewport


@pytest.mark.parametrize("viewport", [DESK, WALL], ids=str)
def test_film_and_finding_stand_on_one_screen(browser: Browser, live: Live, viewport: ViewportSize) -> None:
    with opened(browser, live.url, viewport=viewport) as page:
        choose(page, FILM)
        wait_for_film(page)
        for name in ("viewer", "tools", "percent", "mark-text", "meaning"):
            box = page.locator(f"#{name}").bounding_box()
            assert box is not None
            assert box["y"] + box["height"] <= viewport["height"], name


@pytest.mark.parametrize(("theme", "bright"), [("light", True), ("dark", False)])
def test_the_theme_is_the_readers_own(
    browser: Browser, live: Live, theme: Literal["light", "dark"], bright: bool
) -> None:
    with opened(browser, live.url, color_scheme=theme) as page:
        empty(page)
        assert (seen(page, "#intro").mean() > 128) == bright
        assert (seen(page, "footer").mean() > 128) == bright


@pytest.mark.parametrize(("motion", "moves"), [("no-preference", True), ("reduce", False)])
def test_nothing_moves_for_who_does_not_want_it(
    browser: Browser, live: Live, motion: Literal["no-preference", "reduce"], moves: bool
) -> None:
    with opened(browser, live.url, reduced_motion=motion) as page:
        result(page)
        page.evaluate("document.querySelector('#busy').hidden = false")
        endless = "document.getAnimations().some((each) => each.effect.getTiming().iterations === Infinity)"
        assert page.evaluate(endless) == moves


def test_a_screen_reader_is_told_of_film_finding_and_bar(page: Page) -> None:
    choose(page, FILM, names=["lobar.jpg"])
    wait_for_film(page)
    share = page.locator("#percent").inner_text()
    expect(page.locator("#status")).to_contain_text(
        f"Above the threshold for pneumonia. Probability of pneumonia {share}"
    )
    expect(
        page.get_by_role("img", name=f"Probability of pneumonia {share}, threshold 40.0 %")
    ).to_be_visible()
    expect(page.get_by_role("img", name="Film lobar.jpg")).to_be_visible()
    for name in ("Heat map", "Level", "Width"):
        expect(page.get_by_role("slider", name=name)).to_be_visible()
    expect(page.get_by_role("button", name="lobar.jpg").and_(page.locator("[aria-current]"))).to_have_count(1)
