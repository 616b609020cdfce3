import re

import pytest

from tests.app.live import Live


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_nothing_from_another_host(live: Live, path: str) -> None:
    page = live.client.get(path)
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "http" not in policy
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    own = [address for address in loaded if address.startswith("assets/")]
    assert own
    for address in own:
        assert live.client.get(f"/{address}").status_code == 200, address
    for address in set(loaded) - set(own):
        assert not address.startswith(("http", "//")), address


def test_the_page_runs_nothing_but_its_own_files(live: Live) -> None:
    policy = live.client.get("/").headers["content-security-policy"]
    directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
    assert directives == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_scripts_and_styles_are_never_inline(live: Live) -> None:
    for path in ("/", "/docs"):
        page = live.client.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)", page)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page)


def test_every_answer_has_safe_headers(live: Live, film: bytes) -> None:
    answers = [
        live.client.get("/"),
        live.client.get("/assets/app.js"),
        live.client.get("/health/live"),
        live.client.get("/nowhere"),
        live.predict(film),
        live.predict(b""),
    ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-request-id"]
        assert "server" not in answer.headers
    assert live.predict(film).headers["cache-control"] == "no-store"
