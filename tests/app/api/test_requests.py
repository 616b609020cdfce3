"""The line that each request leaves in the log."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from app.telemetry import logs
from app.telemetry.tracing import ASKED_ALL_DAY
from tests.app.live import Live, gated, running, wait_until


@pytest.fixture(autouse=True)
def _in_detail(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG, logger="app"):
        yield


def answered(caplog: pytest.LogCaptureFixture, requests: int = 1) -> list[tuple[str, dict[str, Any]]]:
    """Level and fields of the lines of so many requests, once they are written."""

    def lines() -> list[tuple[str, dict[str, Any]]]:
        return [
            (record.levelname, getattr(record, logs.FIELDS))
            for record in caplog.records
            if record.message == "answered"
        ]

    wait_until(lambda: len(lines()) >= requests, "the lines are written")
    return lines()


@pytest.mark.parametrize(
    ("method", "path", "data", "status", "code"),
    [
        ("GET", "/Mustermann", None, 404, "not-found"),
        ("GET", "/assets/Mustermann", None, 404, "not-found"),
        ("HEAD", "/Mustermann", None, 404, "not-found"),
        ("GET", "/problems/Mustermann", None, 404, "unknown-problem"),
        ("DELETE", "/model", None, 405, "method-not-allowed"),
        ("GET", "/v2/models/Mustermann", None, 404, "unknown-model"),
        ("GET", "/" + 10_000 * "x", None, 414, "address-too-long"),
        ("POST", "/predict", b"Mustermann", 415, "unsupported-image"),
        ("POST", "/predict?explain=maybe", b"Mustermann", 422, "invalid-request"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_the_line_names_the_problem_that_a_request_ended_with(
    live: Live,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    data: bytes | None,
    status: int,
    code: str,
) -> None:
    live.client.request(method, path, files={"file": data} if data else None)
    ((level, line),) = answered(caplog)
    assert (level, line["status"], line["code"]) == ("INFO", status, code)


def test_a_batch_that_is_answered_ended_with_no_problem_though_a_film_of_it_did(
    live: Live, caplog: pytest.LogCaptureFixture, film: bytes
) -> None:
    live.client.post("/predict/batch", files=[("files", film), ("files", b"no film")])
    ((_, line),) = answered(caplog)
    assert line["status"] == 200
    assert "code" not in line


def test_probes_and_scrapes_fill_no_log(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    for path in ASKED_ALL_DAY:
        assert live.client.get(path).status_code == 200
    lines = answered(caplog, len(ASKED_ALL_DAY))
    assert {(level, line["route"]) for level, line in lines} == {("DEBUG", path) for path in ASKED_ALL_DAY}


def test_a_start_and_a_stop_are_no_errors(
    tiny_folder: Path, caplog: pytest.LogCaptureFixture, film: bytes
) -> None:
    classifier, gate = gated(tiny_folder)
    with running(Settings(model_dir=tiny_folder), classifier) as live:
        gate.broken = True
        live.predict(film)
        answered(caplog, 1)
        wait_until(lambda: not live.service.ready, "the device is known not to work")
        caplog.clear()
        codes = [live.client.get("/health/ready").json()["code"]]
        live.service.draining = True
        codes.append(live.client.get("/health/ready").json()["code"])
        assert codes == ["not-ready", "draining"]
        lines = answered(caplog, 2)
        told = [record for record in caplog.records if record.name == "app.api.problems"]
    assert [(level, line["code"]) for level, line in lines] == [("INFO", code) for code in codes]
    assert [(record.levelname, getattr(record, logs.FIELDS)["code"]) for record in told] == [
        ("INFO", code) for code in codes
    ]


@pytest.mark.parametrize("wished", ["Mustermann^Erika", "Mustermann Erika", 65 * "x", "Mustermann/0815"])
def test_an_id_of_another_form_than_the_documented_one_is_not_taken(live: Live, wished: str) -> None:
    given = live.client.get("/model", headers={"X-Request-ID": wished}).headers["x-request-id"]
    assert given != wished
    assert "Mustermann" not in given


def test_an_id_of_the_documented_form_is_taken(live: Live) -> None:
    headers = {"X-Request-ID": "ward-7"}
    assert live.client.get("/model", headers=headers).headers["x-request-id"] == "ward-7"
