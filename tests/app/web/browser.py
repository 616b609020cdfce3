"""Debian's Chromium, driven by Playwright, alone on this machine, with the page open in it."""

import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, FilePayload, Page, expect, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def executable() -> str | None:
    """Where Chromium is installed, if it is."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, url: str, *, refusals: bool = False, **context: Any) -> Iterator[Page]:
    """The page of the service at `url`, in a context of its own.

    Fails if it asks another host, or if the console has an error or a warning, such as one of its
    Content-Security-Policy. With `refusals`, requests may fail.
    """
    trouble: list[str] = []

    def note(message: ConsoleMessage) -> None:
        refused = refusals and message.text.startswith("Failed to load resource")
        if message.type in ("error", "warning") and not refused:
            trouble.append(message.text)

    own = (url, "blob:", "data:")
    tab = browser.new_page(**({"reduced_motion": "reduce"} | context))
    tab.on("console", note)
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    tab.on("request", lambda request: None if request.url.startswith(own) else trouble.append(request.url))
    try:
        tab.goto(url)
        yield tab
    finally:
        tab.close()
    assert trouble == []


def choose(page: Page, *films: bytes, names: Sequence[str] = ()) -> None:
    """Choose files as a person does; unless they have names, they are called film1.jpg and so on."""
    named = names or [f"film{place}.jpg" for place, _ in enumerate(films, 1)]
    files: list[FilePayload] = [
        {"name": name, "mimeType": "application/octet-stream", "buffer": film}
        for name, film in zip(named, films, strict=True)
    ]
    page.set_input_files("#file", files)


def wait_for_film(page: Page) -> None:
    """Until the film on screen is read and drawn."""
    expect(page.locator("#finding")).to_be_visible()
    expect(page.locator("#tools")).to_be_enabled()
    expect(page.locator("#film")).to_be_visible()


def seen(page: Page, selector: str = "#viewer") -> npt.NDArray[np.uint8]:
    """What a person sees of an element: uint8, [height, width, 3]."""
    with Image.open(io.BytesIO(page.locator(selector).screenshot())) as picture:
        return np.asarray(picture.convert("RGB"))


def told(share: float) -> str:
    """A share as the page writes it."""
    if share > 0.9999:
        return "> 99.99 %"
    if share < 0.0001:
        return "< 0.01 %"
    return f"{100 * share:.{1 if 0.001 < share < 0.999 else 2}f} %"
