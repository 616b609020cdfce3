"""The page in a real browser: one film from its choice to its finding, and what may come in between."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Browser, Page, expect

from app.keys import entry_of
from app.settings import Settings
from tests import radiographs
from tests.app.live import Live, running
from tests.app.web.browser import choose, executable, opened, seen, told, wait_for_film

pytestmark = pytest.mark.skipif(executable() is None, reason="needs Chromium: apt-get install chromium")

FILM = radiographs.jpeg(radiographs.draw(seed=1, opacity=True) // 2 + 110)  # PNEUMONIA to the tiny model
DARK = radiographs.png(np.random.default_rng(0).integers(40, 80, (64, 64)).astype(np.uint8))  # NORMAL to it
WHITE = radiographs.png(np.full((64, 64), 255, np.uint8))  # novel and badly exposed


def hand_over(page: Page, event: str, content: bytes, name: str = "film.jpg") -> None:
    """Let go of a file over the page, or paste it."""
    page.evaluate(
        """([kind, bytes, name]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/jpeg" }));
          const options = { bubbles: true, cancelable: true };
          const event = kind === "paste"
            ? new ClipboardEvent("paste", { ...options, clipboardData: transfer })
            : new DragEvent(kind, { ...options, dataTransfer: transfer });
          document.querySelector("#viewer").dispatchEvent(event);
        }""",
        [event, list(content), name],
    )


def middle(page: Page) -> npt.NDArray[np.uint8]:
    """What is seen of the film in its middle, where no button lies over it."""
    picture = seen(page, "#film")
    height, width, _ = picture.shape
    return picture[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]


def test_a_film_is_judged_and_shown_with_its_heat_map(page: Page, live: Live) -> None:
    answer = live.predict(FILM).json()
    choose(page, FILM, names=["lobar.jpg"])
    wait_for_film(page)
    expect(page.locator("#label")).to_have_text("Above the threshold for pneumonia")
    expect(page.locator("#finding-film")).to_have_text("lobar.jpg")
    expect(page.locator("#percent")).to_have_text(told(answer["probability"]))
    expect(page.locator("#mark-text")).to_have_text("threshold 40.0 %")
    expect(page.locator("#bacterial")).to_have_text("75.0 %")
    expect(page.locator("#viral")).to_have_text("25.0 %")
    expect(page.locator("#timing")).to_contain_text("Model tiny 1")
    expect(page.locator("#overlay")).to_be_visible()
    assert page.locator("#film").bounding_box() == page.locator("#overlay").bounding_box(), (
        "the heat map lies exactly over the film"
    )


def test_the_heat_map_fades_with_its_slider(page: Page) -> None:
    choose(page, FILM)
    wait_for_film(page)
    colours = {}
    for value in ("0", "50", "100"):
        page.locator("#opacity").fill(value)
        expect(page.locator("#opacity-value")).to_have_text(f"{value} %")
        picture = middle(page).astype(int)
        colours[value] = float(np.ptp(picture, axis=2).mean())
    assert colours["0"] < 2, "without its heat map a film is grey"
    assert colours["100"] > 1.5 * colours["50"] > 3 * colours["0"]


@pytest.mark.parametrize("threshold", [0.05, 0.4, 0.93])
def test_the_threshold_is_marked_where_it_lies(browser: Browser, tiny_folder: Path, threshold: float) -> None:
    with running(Settings(model_dir=tiny_folder, threshold=threshold)) as live:
        answer = live.predict(FILM).json()
        with opened(browser, live.url) as page:
            choose(page, FILM)
            wait_for_film(page)
            boxes = {
                name: page.locator(f"#{name}").bounding_box()
                for name in ("bar", "fill", "mark", "band", "mark-text", "finding")
            }
            expect(page.locator("#mark-text")).to_contain_text("set by this service")
            expect(page.locator("#model-override")).to_contain_text(f"uses {threshold:.3f} instead")
    left, width = boxes["bar"]["x"], boxes["bar"]["width"]  # type: ignore[index]
    share = {name: (box["x"] - left) / width for name, box in boxes.items() if box}
    assert share["mark"] == pytest.approx(threshold, abs=0.01)
    assert boxes["fill"]["width"] / width == pytest.approx(answer["probability"], abs=0.01)  # type: ignore[index]
    assert share["band"] == pytest.approx(0.3, abs=0.01)
    assert boxes["band"]["width"] / width == pytest.approx(0.3, abs=0.01)  # type: ignore[index]
    card, words = boxes["finding"], boxes["mark-text"]
    assert card and words
    assert card["x"] <= words["x"]
    assert words["x"] + words["width"] <= card["x"] + card["width"]


def test_the_page_never_calls_a_film_healthy(page: Page) -> None:
    choose(page, DARK)
    expect(page.locator("#label")).to_have_text("Below the threshold for pneumonia")
    expect(page.locator("#meaning")).to_contain_text("does not rule pneumonia out")
    assert "healthy" not in page.locator("body").inner_text().lower()


def test_review_reasons_are_told_in_words(page: Page, live: Live) -> None:
    reasons = [reason["words"] for reason in live.predict(WHITE).json()["reasons"]]
    assert len(reasons) == 2
    choose(page, WHITE)
    expect(page.locator("#review")).to_be_visible()
    expect(page.locator("#reasons li")).to_have_text(reasons)
    expect(page.locator("#status")).to_contain_text("A person should look")


def test_the_band_of_uncertainty_is_told_in_words(page: Page) -> None:
    choose(page, FILM)
    expect(page.locator("#band-text")).to_contain_text("From 30.0 % to 60.0 %")


def test_the_model_and_what_it_is_not_for_are_told(page: Page) -> None:
    expect(page.locator("#model-name")).to_have_text("tiny 1, block means, float16 on cpu")
    expect(page.locator("#model-threshold")).to_have_text("Threshold 0.400: chosen by hand.")
    page.locator("#model summary").click()
    expect(page.locator("#model-use")).to_have_text("tests")
    expect(page.locator("#model")).to_contain_text("Not a medical device")
    expect(page.locator("#model-figures")).to_be_hidden()
    expect(page.locator("footer")).to_contain_text("For research only; a reader decides.")


def test_the_shipped_model_tells_how_well_it_did_on_films_that_it_never_saw(browser: Browser) -> None:
    with running(Settings()) as live, opened(browser, live.url) as page:
        served = live.client.get("/model").json()
        judged = served["manifest"]["evaluation"]["held_out_fold"]
        page.locator("#model summary").click()
        expect(page.locator("#model-use")).to_have_text(served["manifest"]["intended_use"])
        expect(page.locator("#model-films")).to_contain_text(f"On {judged['films']} films")
        expect(page.locator("#model-rows")).to_contain_text(f"{judged['sensitivity']['value']:.3f}")
        choose(page, radiographs.jpeg(radiographs.draw(seed=4)))
        wait_for_film(page)
        expect(page.locator("#review")).to_contain_text("unlike the films that the model was trained on")


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_dropped_or_pasted_film_is_judged(page: Page, event: str) -> None:
    hand_over(page, event, FILM)
    wait_for_film(page)
    expect(page.locator("#finding-film")).to_have_text("film.jpg")


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    # From the start, as Chromium must know before the key comes that somebody waits for the chooser.
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        expect(page.locator("#drop")).to_be_focused()
        page.keyboard.press("Enter")
    chooser.value.set_files({"name": "film.jpg", "mimeType": "image/jpeg", "buffer": FILM})
    wait_for_film(page)
    expect(page.locator("#frame")).to_be_focused()
    page.keyboard.press("+")
    for name in ("zoom-out", "zoom-in", "fit", "full-size"):
        page.keyboard.press("Tab")
        expect(page.locator(f"#{name}")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#opacity")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#opacity-value")).to_have_text("59 %")
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    expect(page.locator("#level-value")).to_have_text("0")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"Dear colleague", "The file is neither"),
        (b"", "The file is empty."),
        (FILM[: len(FILM) // 3], "Perhaps it was cut short on the way."),
        (radiographs.png_claiming(20_000, 20_000), "Export it at a smaller size."),
        (radiographs.animated_png(radiographs.draw(64, 64)), "The file is an animated PNG"),
    ],
    ids=["a letter", "nothing", "cut short", "too many pixels", "animated"],
)
def test_a_bad_file_is_a_clear_sentence_and_the_next_film_works(
    refused_page: Page, content: bytes, words: str
) -> None:
    choose(refused_page, content)
    expect(refused_page.locator("#problem")).to_contain_text(words)
    expect(refused_page.locator("#problem-id")).not_to_be_empty()
    expect(refused_page.locator("#problem-again")).to_be_hidden()
    expect(refused_page.locator("#finding")).to_be_hidden()
    choose(refused_page, FILM)
    wait_for_film(refused_page)
    expect(refused_page.locator("#problem")).to_be_hidden()


def test_a_film_that_is_too_large_is_told_so(browser: Browser, tiny_folder: Path) -> None:
    with (
        running(Settings(model_dir=tiny_folder, max_upload_mb=0.01)) as live,
        opened(browser, live.url, refusals=True) as page,
    ):
        choose(page, radiographs.png(np.random.default_rng(0).integers(0, 255, (300, 300)).astype(np.uint8)))
        expect(page.locator("#problem-title")).to_have_text("The upload is too large")


def test_a_model_without_heat_map_and_kinds_is_told_without_them(
    browser: Browser, model_folder: Path
) -> None:
    from tests import tiny_model

    bare = tiny_model.manifest(uncertainty=None)
    (model_folder / "model.onnx").write_bytes(tiny_model.build(bare, heatmap=False, classes=False))
    with running(Settings(model_dir=model_folder)) as live, opened(browser, live.url) as page:
        choose(page, FILM)
        wait_for_film(page)
        for name in ("overlay", "subtypes", "band", "band-text"):
            expect(page.locator(f"#{name}")).to_be_hidden()


def test_a_service_with_keys_asks_for_one(browser: Browser, tiny_folder: Path) -> None:
    with (
        running(Settings(model_dir=tiny_folder, api_keys=(entry_of("ward", "open sesame"),))) as live,
        opened(browser, live.url, refusals=True) as page,
    ):
        expect(page.locator("#key-card")).to_contain_text("This service asks for a key.")
        choose(page, FILM, DARK)
        page.locator("#key").fill("open barley")
        page.keyboard.press("Enter")
        expect(page.locator("#key-card")).to_contain_text("The service refused this key.")
        page.locator("#key").fill("open sesame")
        page.keyboard.press("Enter")
        wait_for_film(page)
        expect(page.locator("#summary")).to_have_text("2 films: 1 above the threshold, 1 below.")
        expect(page.locator("#key-card")).to_be_hidden()
        expect(page.locator("#model-name")).to_contain_text("tiny 1")
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


def test_a_service_that_is_not_ready_is_waited_for(browser: Browser, tiny_folder: Path) -> None:
    with (
        running(Settings(model_dir=tiny_folder)) as live,
        opened(browser, live.url, refusals=True) as page,
    ):
        live.service.draining = True
        page.reload()
        expect(page.locator("#service")).to_contain_text("not ready yet")
        choose(page, FILM)
        expect(page.locator("#busy")).to_contain_text("Shutting down. Trying again in")
        live.service.draining = False
        wait_for_film(page)
        expect(page.locator("#service")).to_be_hidden()


def test_a_service_that_cannot_be_reached_is_told_and_tried_again(browser: Browser, live: Live) -> None:
    with opened(browser, live.url, refusals=True) as page:
        page.context.set_offline(True)
        choose(page, FILM, DARK)
        expect(page.locator("#busy")).to_contain_text("The service cannot be reached. Trying again in")
        expect(page.locator("#problem")).to_contain_text("The service cannot be reached")
        expect(page.locator("#summary")).to_have_text("2 films: 2 with a problem.")
        page.context.set_offline(False)
        page.locator("#problem-again").click()
        wait_for_film(page)
        expect(page.locator("#summary")).to_have_text("2 films: 1 above the threshold, 1 below.")


def test_an_answer_of_something_in_between_is_told_as_such(refused_page: Page) -> None:
    refused_page.route("**/predict*", lambda route: route.fulfill(status=413, body="<h1>Too large</h1>"))
    choose(refused_page, FILM)
    expect(refused_page.locator("#problem")).to_contain_text("Something else answered")
    expect(refused_page.locator("#problem")).to_contain_text("With status 413.")


def test_a_films_name_stays_in_the_browser(page: Page) -> None:
    page.evaluate(
        """() => {
          const send = window.fetch;
          window.sent = [];
          window.fetch = (path, options) => {
            for (const [field, file] of options.body ?? []) window.sent.push([path, field, file.name, file.size]);
            return send(path, options);
          };
        }"""
    )
    choose(page, FILM, names=["Doe^Jane.jpg"])
    wait_for_film(page)
    assert page.evaluate("window.sent") == [["predict?explain=true", "file", "film", len(FILM)]]


def test_the_api_page_works_offline(browser: Browser, live: Live) -> None:
    with opened(browser, live.url) as page:
        page.goto(f"{live.url}/docs")
        expect(page.locator("#swagger-ui")).to_contain_text("/predict/batch")
        paths = live.client.get("/openapi.json").json()["paths"].values()
        expect(page.locator(".opblock")).to_have_count(sum(map(len, paths)))
