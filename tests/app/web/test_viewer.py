"""Zoom, pan and window: what a person sees of a film whose grey levels are known."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Browser, FloatRect, Page, expect

from tests import radiographs
from tests.app.live import Live
from tests.app.web.browser import choose, executable, opened, seen, wait_for_film

pytestmark = pytest.mark.skipif(executable() is None, reason="needs Chromium: apt-get install chromium")

LEFT, RIGHT = 100, 150  # grey levels of the two halves
HALVES = radiographs.png(np.repeat(np.array([[LEFT, RIGHT]], np.uint8), 300, axis=1).repeat(400, axis=0))


@pytest.fixture
def viewer(page: Page) -> Page:
    """The page with the film of two halves, without heat map, its focus on the film."""
    choose(page, HALVES)
    wait_for_film(page)
    page.locator("#opacity").fill("0")
    page.locator("#frame").focus()
    return page


def levels(page: Page) -> tuple[float, float]:
    """Median grey levels well inside each half of the fitted film."""
    picture = seen(page, "#film").astype(float)
    height, width, _ = picture.shape
    rows = picture[height // 3 : height // 2]
    left, right = rows[:, width // 8 : width // 3], rows[:, -width // 3 : -width // 8]
    return float(np.median(left)), float(np.median(right))


def edge(page: Page) -> float:
    """Where in the frame the two halves meet, as a share of its width."""
    row: npt.NDArray[np.int_] = seen(page, "#frame")[150, :, 0].astype(int)
    (places,) = np.nonzero((row[:-1] < (LEFT + RIGHT) / 2) & (row[1:] >= (LEFT + RIGHT) / 2))
    return float(places[-1]) / len(row)


def film_box(page: Page) -> FloatRect:
    box = page.locator("#film").bounding_box()
    assert box is not None
    return box


def test_a_film_is_first_seen_whole_and_as_it_is(viewer: Page) -> None:
    frame, film = viewer.locator("#frame").bounding_box(), film_box(viewer)
    assert frame is not None
    assert film["width"] / film["height"] == pytest.approx(600 / 400, abs=0.01)
    assert max(film["width"] / frame["width"], film["height"] / frame["height"]) == pytest.approx(1, abs=0.01)
    assert levels(viewer) == pytest.approx((LEFT, RIGHT), abs=1)
    scale = round(100 * film["width"] / 600)
    expect(viewer.locator("#scale")).to_have_text(f"{scale} %")


@pytest.mark.parametrize("way", ["button", "key", "wheel"])
def test_zoom_makes_the_film_larger_and_smaller(viewer: Page, way: str) -> None:
    before = film_box(viewer)["width"]
    if way == "button":
        viewer.locator("#zoom-in").click()
    elif way == "key":
        viewer.keyboard.press("+")
    else:
        viewer.locator("#frame").hover()
        viewer.mouse.wheel(0, -120)
    expect(viewer.locator("#frame")).to_have_class("frame zoomed")
    larger = film_box(viewer)["width"]
    assert larger == pytest.approx(before * (np.exp(0.24) if way == "wheel" else 1.25), rel=0.01)
    viewer.keyboard.press("0")
    assert film_box(viewer)["width"] == pytest.approx(before, abs=0.5)


def test_full_size_is_a_pixel_for_a_pixel(viewer: Page) -> None:
    viewer.locator("#full-size").click()
    expect(viewer.locator("#scale")).to_have_text("100 %")
    assert film_box(viewer)["width"] == pytest.approx(600, abs=0.5)
    viewer.locator("#fit").click()
    assert film_box(viewer)["width"] > 600


def test_the_wheel_zooms_about_the_pointer(viewer: Page) -> None:
    frame = viewer.locator("#frame").bounding_box()
    assert frame is not None
    at = (frame["x"] + 0.4 * frame["width"], frame["y"] + 0.4 * frame["height"])

    def pointed() -> tuple[float, float]:
        film = film_box(viewer)
        return (at[0] - film["x"]) / film["width"], (at[1] - film["y"]) / film["height"]

    before = pointed()
    scale = round(100 * film_box(viewer)["width"] / 600 * np.exp(4 * 0.2))
    viewer.mouse.move(*at)
    for _ in range(4):
        viewer.mouse.wheel(0, -100)
    expect(viewer.locator("#scale")).to_have_text(f"{scale} %")
    assert pointed() == pytest.approx(before, abs=0.01)


def test_a_zoomed_film_is_moved_by_dragging_and_by_keys(viewer: Page) -> None:
    for _ in range(4):
        viewer.keyboard.press("+")
    frame = viewer.locator("#frame").bounding_box()
    assert frame is not None
    before = edge(viewer)
    viewer.mouse.move(frame["x"] + 300, frame["y"] + 300)
    viewer.mouse.down()
    viewer.mouse.move(frame["x"] + 220, frame["y"] + 300, steps=4)
    viewer.mouse.up()
    dragged = edge(viewer)
    assert dragged == pytest.approx(before - 80 / frame["width"], abs=0.01)
    viewer.keyboard.press("ArrowLeft")
    assert edge(viewer) == pytest.approx(dragged + 48 / frame["width"], abs=0.01)


def test_a_film_cannot_be_lost_out_of_sight(viewer: Page) -> None:
    for _ in range(60):
        viewer.keyboard.press("+")
    for _ in range(300):
        viewer.keyboard.press("ArrowRight")
    frame, film = viewer.locator("#frame").bounding_box(), film_box(viewer)
    assert frame is not None
    assert film["x"] + film["width"] == pytest.approx(frame["x"] + frame["width"], abs=1)
    for _ in range(60):
        viewer.keyboard.press("-")
    assert film_box(viewer)["width"] <= frame["width"] + 1


def test_a_film_fits_its_frame_whatever_becomes_of_the_window(viewer: Page) -> None:
    for viewport in ({"width": 800, "height": 600}, {"width": 1500, "height": 1000}):
        viewer.set_viewport_size(viewport)  # type: ignore[arg-type]
        frame = viewer.locator("#frame").bounding_box()
        assert frame is not None
        scale = min(frame["width"] / 600, frame["height"] / 400)
        expect(viewer.locator("#scale")).to_have_text(f"{round(100 * scale)} %")
    hidden = "shown => { document.querySelector('.stage').style.display = shown ? '' : 'none'; }"
    viewer.evaluate(hidden, False)
    viewer.evaluate("() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
    viewer.evaluate(hidden, True)
    expect(viewer.locator("#scale")).to_have_text(f"{round(100 * scale)} %")
    expect(viewer.locator("#film")).to_be_visible()


def test_the_window_spreads_its_grey_levels_from_black_to_white(viewer: Page) -> None:
    viewer.locator("#level").fill("125")
    viewer.locator("#width").fill("100")
    expected = [(level - 125) * 2.56 + 128 for level in (LEFT, RIGHT)]
    assert levels(viewer) == pytest.approx(expected, abs=2)
    viewer.locator("#inverted").check()
    assert levels(viewer) == pytest.approx([255 - level for level in expected], abs=2)
    viewer.locator("#neutral").click()
    assert levels(viewer) == pytest.approx((LEFT, RIGHT), abs=1)
    expect(viewer.locator("#inverted")).not_to_be_checked()


def test_the_window_follows_shift_with_keys_and_with_dragging(viewer: Page) -> None:
    for _ in range(5):
        viewer.keyboard.press("Shift+ArrowLeft")
        viewer.keyboard.press("Shift+ArrowUp")
    expect(viewer.locator("#width-value")).to_have_text(str(256 - 40))
    expect(viewer.locator("#level-value")).to_have_text(str(128 - 20))
    left, right = levels(viewer)
    assert right - left == pytest.approx((RIGHT - LEFT) * 256 / 216, abs=2)
    viewer.keyboard.press("r")
    viewer.keyboard.press("i")
    assert levels(viewer) == pytest.approx((255 - LEFT, 255 - RIGHT), abs=1)
    viewer.keyboard.press("r")
    before = film_box(viewer)
    viewer.mouse.move(before["x"] + 300, before["y"] + 200)
    viewer.keyboard.down("Shift")
    viewer.mouse.down()
    viewer.mouse.move(before["x"] + 200, before["y"] + 230, steps=4)
    viewer.mouse.up()
    viewer.keyboard.up("Shift")
    expect(viewer.locator("#width-value")).to_have_text(str(256 - 100))
    expect(viewer.locator("#level-value")).to_have_text(str(128 + 30))
    assert film_box(viewer) == before, "the film stays where it is"


def test_the_heat_map_is_hidden_and_shown_by_a_key(viewer: Page) -> None:
    viewer.locator("#opacity").fill("40")
    viewer.locator("#frame").focus()
    viewer.keyboard.press("h")
    expect(viewer.locator("#overlay")).to_have_css("opacity", "0")
    viewer.keyboard.press("h")
    expect(viewer.locator("#overlay")).to_have_css("opacity", "0.4")


def test_the_heat_map_keeps_its_colours_in_any_window(page: Page) -> None:
    white = radiographs.png(np.full((400, 600), 230, np.uint8))
    choose(page, white)
    wait_for_film(page)
    page.locator("#opacity").fill("100")
    page.locator("#level").fill("256")
    page.locator("#width").fill("16")  # the film is black
    picture = seen(page, "#film").astype(int)
    assert np.ptp(picture, axis=2).mean() > 30


def test_each_film_is_first_seen_fitted_and_in_a_neutral_window(viewer: Page) -> None:
    viewer.keyboard.press("+")
    viewer.keyboard.press("i")
    choose(viewer, HALVES, names=["again.png"])
    expect(viewer.locator("#finding-film")).to_have_text("again.png")
    wait_for_film(viewer)
    expect(viewer.locator("#inverted")).not_to_be_checked()
    expect(viewer.locator("#frame")).to_have_class("frame")
    viewer.locator("#opacity").fill("0")
    assert levels(viewer) == pytest.approx((LEFT, RIGHT), abs=1)


def test_a_film_turned_by_its_exif_lies_upright_under_its_heat_map(page: Page) -> None:
    choose(page, radiographs.jpeg(radiographs.draw(480, 320), orientation=6))
    wait_for_film(page)
    film = film_box(page)
    assert film["width"] / film["height"] == pytest.approx(480 / 320, abs=0.01)
    assert page.locator("#overlay").bounding_box() == film


@pytest.fixture
def touched(browser: Browser, live: Live) -> Iterator[Page]:
    """The page on a phone, with the film of two halves."""
    with opened(browser, live.url, has_touch=True, viewport={"width": 390, "height": 800}) as page:
        choose(page, HALVES)
        wait_for_film(page)
        page.locator("#opacity").fill("0")
        page.locator("#viewer").scroll_into_view_if_needed()
        yield page


def test_two_fingers_zoom_and_one_moves(touched: Page) -> None:
    screen = touched.context.new_cdp_session(touched)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(points)]
        screen.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    frame = touched.locator("#frame").bounding_box()
    assert frame is not None
    x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    before = film_box(touched)["width"]
    touch("touchStart", (x - 40, y), (x + 40, y))
    for apart in (50, 60, 70, 80):
        touch("touchMove", (x - apart, y), (x + apart, y))
    touch("touchEnd")
    expect(touched.locator("#frame")).to_have_class("frame zoomed")
    assert film_box(touched)["width"] == pytest.approx(2 * before, rel=0.02)
    at = film_box(touched)["x"]
    touch("touchStart", (x, y))
    for moved in (20, 40, 60):
        touch("touchMove", (x - moved, y))
    touch("touchEnd")
    assert film_box(touched)["x"] == pytest.approx(at - 60, abs=16)


def test_a_finger_on_a_fitted_film_scrolls_the_page(touched: Page) -> None:
    assert touched.locator("#frame").evaluate("frame => getComputedStyle(frame).touchAction") == "pan-y"
    touched.locator("#zoom-in").tap()
    assert touched.locator("#frame").evaluate("frame => getComputedStyle(frame).touchAction") == "none"
