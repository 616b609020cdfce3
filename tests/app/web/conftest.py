"""A browser, and the page in it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.app.live import Live
from tests.app.web.browser import chromium, opened

expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless browser for the tests of one module."""
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, live: Live) -> Iterator[Page]:
    """The page of the shared service, which has no reason to complain of anything."""
    with opened(browser, live.url) as tab:
        yield tab


@pytest.fixture
def refused_page(browser: Browser, live: Live) -> Iterator[Page]:
    """The page of the shared service, some of whose requests are refused."""
    with opened(browser, live.url, refusals=True) as tab:
        yield tab
