"""The page in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from app.settings import Settings
from tests import radiographs
from tests.app.live import Live, running
from tests.app.web.browser import chromium, executable

expect.set_options(timeout=30_000)

pytestmark = pytest.mark.skipif(executable() is None, reason="needs Chromium: apt-get install chromium")

FILM = radiographs.jpeg(radiographs.draw(seed=1, opacity=True) // 2 + 110)  # PNEUMONIA to the tiny model


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, live: Live) -> Iterator[Page]:
    """The page of the shared service; fails the test if it asks another host or its policy is broken."""
    yield from opened(browser, live)


def opened(browser: Browser, live: Live) -> Iterator[Page]:
    tab = browser.new_page()
    trouble: list[str] = []
    tab.on(
        "console", lambda message: trouble.append(message.text) if "Security Policy" in message.text else None
    )
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    own = (live.url, "blob:", "data:")
    tab.on("request", lambda request: None if request.url.startswith(own) else trouble.append(request.url))
    tab.goto(live.url)
    yield tab
    tab.close()
    assert trouble == []


def choose(page: Page, content: bytes, name: str = "film.jpg") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "image/jpeg", "buffer": content})


def test_a_film_is_judged_and_its_heat_map_fades_with_the_slider(page: Page, live: Live) -> None:
    answer = live.predict(FILM).json()
    choose(page, FILM)
    expect(page.locator("#label")).to_have_text("Above the threshold for pneumonia")
    expect(page.locator("#percent")).to_have_text(f"{100 * answer['probability']:.1f} %")
    expect(page.locator("#mark-text")).to_contain_text("threshold 40.0 %")
    overlay = page.locator("#overlay")
    expect(overlay).to_be_visible()
    film_box, heat_box = page.locator("#film").bounding_box(), overlay.bounding_box()
    assert film_box == heat_box, "the heat map lies exactly over the film"
    page.locator("#opacity").fill("0")
    expect(overlay).to_have_css("opacity", "0")
    page.locator("#opacity").fill("100")
    expect(overlay).to_have_css("opacity", "1")


def test_the_page_never_calls_a_film_healthy(page: Page) -> None:
    noise = np.random.default_rng(0).integers(40, 80, (64, 64))
    choose(page, radiographs.png(noise.astype(np.uint8)))
    expect(page.locator("#label")).to_have_text("Below the threshold for pneumonia")
    expect(page.locator("#meaning")).to_contain_text("does not rule pneumonia out")
    assert "healthy" not in page.locator("body").inner_text().lower()


def test_review_reasons_are_told_in_words(page: Page) -> None:
    choose(page, radiographs.png(np.full((64, 64), 255, np.uint8)))
    expect(page.locator("#review")).to_be_visible()
    expect(page.locator("#reasons li")).to_have_count(2)
    expect(page.locator("#status")).to_contain_text("A person should look")


def test_an_error_is_a_clear_sentence_and_the_next_film_works(page: Page) -> None:
    choose(page, b"Dear colleague", "letter.jpg")
    expect(page.locator("#problem")).to_contain_text("neither JPEG nor PNG")
    expect(page.locator("#finding")).to_be_hidden()
    choose(page, FILM)
    expect(page.locator("#finding")).to_be_visible()
    expect(page.locator("#problem")).to_be_hidden()


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    # From the start, as Chromium must know before the key comes that somebody waits for the chooser.
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        expect(page.locator("#file")).to_be_focused()
        page.keyboard.press("Space")
    chooser.value.set_files({"name": "film.jpg", "mimeType": "image/jpeg", "buffer": FILM})
    expect(page.locator("#finding")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator("#opacity")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#opacity-value")).to_have_text("69 %")


def test_a_dropped_film_is_judged(page: Page) -> None:
    page.evaluate(
        """(bytes) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], "film.jpg", { type: "image/jpeg" }));
          const event = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
          document.querySelector("#viewer").dispatchEvent(event);
        }""",
        list(FILM),
    )
    expect(page.locator("#finding")).to_be_visible()


def test_a_service_with_keys_asks_for_one(browser: Browser, tiny_folder: Path) -> None:
    with running(Settings(model_dir=tiny_folder, api_keys="open sesame")) as live:
        for page in opened(browser, live):
            choose(page, FILM)
            page.locator("#key").fill("open sesame")
            page.keyboard.press("Enter")
            expect(page.locator("#finding")).to_be_visible()
            expect(page.locator("#model-name")).to_contain_text("tiny 1")


def test_the_api_page_works_offline(browser: Browser, live: Live) -> None:
    for page in opened(browser, live):
        page.goto(f"{live.url}/docs")
        expect(page.locator("#swagger-ui")).to_contain_text("/predict/batch")
        paths = live.client.get("/openapi.json").json()["paths"].values()
        expect(page.locator(".opblock")).to_have_count(sum(map(len, paths)))
