"""The page with many films: progress, cancelling, a busy service, and the table to take away."""

import csv
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests import radiographs
from tests.app.live import Gate, Live, wait_until
from tests.app.web.browser import choose, executable, opened, told, wait_for_film

pytestmark = pytest.mark.skipif(executable() is None, reason="needs Chromium: apt-get install chromium")

LEVELS = (110, 20, 130, 60, 90)  # of brightness, and with it of probability
FILMS = [radiographs.jpeg(radiographs.draw(seed=1) // 2 + level) for level in LEVELS]


@pytest.fixture
def gated_page(browser: Browser, gated_live: tuple[Live, Gate]) -> Iterator[tuple[Page, Live, Gate]]:
    """The page of a service with room for three films and a gate before its device."""
    live, gate = gated_live
    with opened(browser, live.url, refusals=True) as page:
        yield page, live, gate


def test_many_films_are_read_and_listed(page: Page, live: Live) -> None:
    answers = [live.predict(film).json() for film in FILMS]
    choose(page, *FILMS)
    shares = [told(answer["probability"]) for answer in answers]
    expect(page.locator("#film-list .share")).to_have_text(shares)
    above = sum(answer["label"] == "PNEUMONIA" for answer in answers)
    expect(page.locator("#summary")).to_contain_text(
        f"5 films: {above} above the threshold, {5 - above} below"
    )
    expect(page.locator("#status")).to_have_text(page.locator("#summary").inner_text())
    expect(page.locator("#progress")).to_be_hidden()
    expect(page.locator("#place")).to_have_text("1 of 5")


def test_two_films_are_under_way_at_most_and_progress_is_told(gated_page: tuple[Page, Live, Gate]) -> None:
    page, live, gate = gated_page
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if "predict" in request.url else None)
    gate.close()
    choose(page, *FILMS)
    wait_until(lambda: live.service.admission.taken == 2, "two films are sent")
    expect(page.locator("#progress-text")).to_have_text("0 of 5 films")
    expect(page.locator("#pending")).to_contain_text("film1.jpg")
    expect(page.locator("#film-list .words")).to_have_text(["Reading", "Reading", *["Waiting"] * 3])
    assert len(asked) == 2
    most = 0

    def count(pixels: object) -> None:
        nonlocal most
        most = max(most, live.service.admission.taken)

    gate.before = count
    gate.open()
    expect(page.locator("#film-list .share:not(:empty)")).to_have_count(5)
    assert most == 2
    assert len(asked) == 5


def test_cancelled_films_can_be_read_later(gated_page: tuple[Page, Live, Gate]) -> None:
    page, live, gate = gated_page
    gate.close()
    choose(page, *FILMS)
    wait_until(lambda: live.service.admission.taken == 2, "two films are sent")
    page.locator("#cancel").click()
    expect(page.locator("#summary")).to_have_text("5 films: 5 not read.")
    expect(page.locator("#cancelled")).to_be_visible()
    expect(page.locator("#pending")).to_be_hidden()
    wait_until(lambda: live.service.admission.taken == 0, "the service knows that nobody waits")
    gate.open()
    expect(page.locator("#retry")).to_be_focused()
    page.locator("#retry").press("Enter")
    expect(page.locator("#film-list .share:not(:empty)")).to_have_count(5)
    expect(page.locator("#cancelled")).to_be_hidden()
    expect(page.locator("#retry")).to_be_hidden()


def test_a_busy_service_is_asked_again_when_it_says(gated_page: tuple[Page, Live, Gate]) -> None:
    page, live, gate = gated_page
    gate.close()
    others = [threading.Thread(target=live.predict, args=(film,)) for film in FILMS[:3]]
    for other in others:
        other.start()
    wait_until(lambda: live.service.admission.taken == 3, "others have taken every place")
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if "predict" in request.url else None)
    choose(page, FILMS[0])
    expect(page.locator("#busy")).to_contain_text("Too many films at once. Trying again in")
    expect(page.locator("#progress")).to_be_visible()
    gate.open()
    for other in others:
        other.join()
    wait_for_film(page)
    first = asked[0].response()
    assert first is not None
    assert first.status == 429
    wait = asked[1].timing["startTime"] - asked[0].timing["startTime"]
    assert wait >= 1000 * int(first.headers["retry-after"])


def test_one_bad_file_does_not_spoil_the_others(refused_page: Page) -> None:
    choose(refused_page, FILMS[0], b"Dear colleague", FILMS[1], names=["a.jpg", "letter.txt", "b.jpg"])
    expect(refused_page.locator("#film-list .words")).to_have_text(
        ["Above the threshold", "Not a supported kind of file", "Below the threshold"]
    )
    expect(refused_page.locator("#summary")).to_contain_text("1 with a problem")
    refused_page.get_by_role("button", name="letter.txt").click()
    expect(refused_page.locator("#problem-film")).to_have_text("letter.txt")


def test_a_file_that_was_moved_meanwhile_is_told_so(
    gated_page: tuple[Page, Live, Gate], tmp_path: Path
) -> None:
    page, live, gate = gated_page
    paths = [tmp_path / f"{place}.jpg" for place in range(3)]
    for path, film in zip(paths, FILMS, strict=False):
        path.write_bytes(film)
    gate.close()
    page.set_input_files("#file", paths)
    wait_until(lambda: live.service.admission.taken == 2, "two films are sent")
    paths[2].unlink()
    gate.open()
    expect(page.locator("#film-list .words")).to_have_text(
        ["Above the threshold", "Below the threshold", "The file cannot be opened"]
    )


def test_the_film_on_screen_is_chosen_from_the_list_or_by_steps(page: Page) -> None:
    choose(page, *FILMS)
    expect(page.locator("#film-list .share:not(:empty)")).to_have_count(5)
    page.get_by_role("button", name="film2.jpg").click()
    wait_for_film(page)
    expect(page.locator("#percent")).to_have_text(page.locator("#film-list .share").nth(1).inner_text())
    expect(page.locator("#film-list [aria-current]")).to_contain_text("film2.jpg")
    expect(page.locator("#film")).to_have_attribute("alt", "Film film2.jpg")
    page.locator("#next").click()
    expect(page.locator("#finding-film")).to_have_text("film3.jpg")
    page.locator("#frame").press("PageDown")
    expect(page.locator("#finding-film")).to_have_text("film4.jpg")
    page.locator("#frame").press("PageUp")
    page.locator("#frame").press("PageUp")
    expect(page.locator("#finding-film")).to_have_text("film2.jpg")
    expect(page.locator("#frame")).to_be_focused()


def test_the_most_probable_films_can_come_first(page: Page) -> None:
    choose(page, *FILMS)
    expect(page.locator("#film-list .share:not(:empty)")).to_have_count(5)
    page.locator("#order").select_option("probability")
    by_level = [place for _, place in sorted(zip(LEVELS, range(1, 6), strict=True), reverse=True)]
    expect(page.locator("#film-list .name")).to_have_text([f"film{place}.jpg" for place in by_level])
    expect(page.locator("#place")).to_have_text("2 of 5")


def test_the_list_can_be_cleared(page: Page) -> None:
    choose(page, *FILMS)
    expect(page.locator("#film-list .share:not(:empty)")).to_have_count(5)
    page.locator("#clear").click()
    expect(page.locator("#films")).to_be_hidden()
    expect(page.locator("#finding")).to_be_hidden()
    expect(page.locator("#drop")).to_be_focused()
    choose(page, FILMS[0])
    wait_for_film(page)
    expect(page.locator("#film-list li")).to_have_count(1)


def test_the_table_holds_every_film_and_no_formula(refused_page: Page, live: Live, tmp_path: Path) -> None:
    names = ['=HYPERLINK("http://example.org")', "Straße, 2.jpg", "@letter.txt", "  +1.jpg"]
    choose(refused_page, FILMS[0], FILMS[1], b"Dear colleague", FILMS[2], names=names)
    expect(refused_page.locator("#summary")).to_contain_text("4 films: 2 above the threshold")
    with refused_page.expect_download() as download:
        refused_page.locator("#save").click()
    assert download.value.suggested_filename == "pneumoscope.csv"
    download.value.save_as(tmp_path / "table.csv")
    content = (tmp_path / "table.csv").read_bytes()
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert content.startswith(b"\xef\xbb\xbf")
    assert content.count(b"\r\n") == 5
    assert [row["film"] for row in rows] == [
        "'" + names[0],
        names[1],
        "'" + names[2],
        "'" + names[3],
    ]
    for row, film in zip(rows, (FILMS[0], FILMS[1], None, FILMS[2]), strict=True):
        if film is None:
            assert row["problem"] == "Not a supported kind of file"
            assert row["probability"] == row["label"] == ""
            assert row["request"]
            continue
        answer = live.predict(film).json()
        assert float(row["probability"]) == answer["probability"]
        assert float(row["threshold"]) == answer["threshold"]
        assert row["label"] == answer["label"]
        assert float(row["bacterial"]) == answer["subtypes"]["bacterial"]
        assert row["review"] == str(answer["review"]).lower()
        assert row["reasons"] == " ".join(reason["words"] for reason in answer["reasons"])
        assert row["model_sha256"] == answer["model"]["sha256"]
        assert row["problem"] == ""
