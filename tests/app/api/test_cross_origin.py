"""What pages of other origins, and other programs than a browser, get to see."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.keys import entry_of
from app.settings import Settings
from tests.app.live import Live, running

OURS, OTHERS = "https://viewer.test:8443", "https://elsewhere.test"


@pytest.fixture(scope="module")
def opened(tiny_folder: Path) -> Iterator[Live]:
    """A service with a key and a named origin."""
    settings = Settings(
        model_dir=tiny_folder,
        cors_origins=(OURS,),
        api_keys=(entry_of("ward", "open sesame"),),
        max_upload_mb=0.1,
    )
    with running(settings) as service:
        yield service


def preflight(live: Live, origin: str, *, method: str = "POST") -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "x-api-key",
    }
    return live.client.options("/predict", headers=headers)


def allowed(answer: httpx.Response) -> str | None:
    value: str | None = answer.headers.get("access-control-allow-origin")
    return value


def test_no_other_origin_may_call_the_service_unless_it_is_named(
    live: Live, opened: Live, film: bytes
) -> None:
    for service, origin in ((live, OURS), (opened, OTHERS), (opened, "null"), (opened, f"{OURS}.evil.test")):
        assert not any(
            name.startswith("access-control-allow-origin") for name in preflight(service, origin).headers
        )
        assert allowed(service.predict(film, headers={"Origin": origin})) is None


def test_a_named_origin_may_send_films_with_a_key(opened: Live, film: bytes) -> None:
    leave = preflight(opened, OURS)
    assert (leave.status_code, allowed(leave)) == (200, OURS)
    assert "x-api-key" in leave.headers["access-control-allow-headers"].lower()
    answer = opened.predict(film, headers={"Origin": OURS, "X-API-Key": "open sesame"})
    assert (answer.status_code, allowed(answer)) == (200, OURS)
    assert "Retry-After" in answer.headers["access-control-expose-headers"]
    for told in (leave, answer):
        assert "access-control-allow-credentials" not in told.headers
        assert "Origin" in told.headers["vary"]


def test_a_refusal_can_be_read_by_a_named_origin_wherever_it_comes_from(opened: Live, film: bytes) -> None:
    origin = {"Origin": OURS}
    refusals = {
        "key-refused": opened.predict(film, headers=origin),
        "not-found": opened.client.get("/nothing", headers=origin),
        "address-too-long": opened.client.get("/model", params={"a": "b" * 3000}, headers=origin),
        "body-too-large": opened.predict(bytes(200_000), headers={**origin, "X-API-Key": "open sesame"}),
    }
    for code, answer in refusals.items():
        assert (answer.json()["code"], allowed(answer)) == (code, OURS)
        assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_preflights_are_recorded_and_have_the_safe_headers_too(opened: Live) -> None:
    leave = preflight(opened, OURS)
    assert leave.headers["x-request-id"]
    assert leave.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/docs", "/health/live", "/nothing", "/assets/app.js", "/metrics"])
def test_every_answer_has_the_headers_that_keep_browsers_in_bounds(live: Live, path: str) -> None:
    headers = live.client.get(path).headers
    policy = dict(rule.strip().partition(" ")[::2] for rule in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert "'unsafe" not in policy.get("script-src", "'none'")
    assert not {"http:", "https:", "*"} & set(headers["content-security-policy"].split())
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"
    assert "camera=()" in headers["permissions-policy"]
    assert headers["cache-control"] in ("no-store", "no-cache")
    # A browser that once saw it over plain HTTP ignores it; and it is for the proxy that has the certificate.
    assert "strict-transport-security" not in headers
    assert "server" not in headers


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/health/live", "/health/ready", "/metrics", "/model", "/v2",
             "/assets/app.js", "/problems/internal"],
)  # fmt: skip
def test_head_answers_as_get_does_without_the_body(live: Live, path: str) -> None:
    got, head = live.client.get(path), live.client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    varying = {"x-request-id", "date", "content-length"}
    assert {name: value for name, value in head.headers.items() if name not in varying} == {
        name: value for name, value in got.headers.items() if name not in varying
    }
    if path != "/metrics":
        assert head.headers["content-length"] == got.headers["content-length"]


def test_head_of_nothing_and_of_films_is_refused_and_recorded_by_its_route(live: Live) -> None:
    assert live.client.head("/nothing").status_code == 404
    assert live.client.head("/predict").status_code == 405
    live.client.head("/model")
    assert 'route="/model"' in live.client.get("/metrics").text


def test_an_address_that_is_too_long_is_refused_before_it_is_taken_apart(live: Live) -> None:
    for answer in (
        live.client.get("/health/live?" + "a&" * 10_000),
        live.client.get("/problems/" + "a" * 3000),
        live.client.get("/v2/models/" + "%41" * 1000),
    ):
        assert answer.status_code == 414
    assert live.client.get("/health/live?" + "a" * 1000).status_code == 200
