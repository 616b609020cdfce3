import asyncio
import gc
import io
import json
import logging
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from app.telemetry import logs


@pytest.fixture
def stream(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """Where the root logger writes, as JSON unless told otherwise; put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    logs.configure("info", style=getattr(request, "param", "json"), stream=written)
    try:
        yield written
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def test_a_line_is_json_with_fields_and_request_id(stream: io.StringIO) -> None:
    with logs.of_request("abc"):
        logging.getLogger("app.x").info("said %d", 7, extra={logs.FIELDS: {"status": 200}})
    logging.getLogger("app.x").debug("not shown")
    line = json.loads(stream.getvalue())
    assert (line["level"], line["logger"], line["message"]) == ("info", "app.x", "said 7")
    assert (line["request_id"], line["status"]) == ("abc", 200)


def test_an_exceptions_own_words_are_not_logged(stream: io.StringIO) -> None:
    try:
        int("Mustermann^Erika")
    except ValueError:
        logging.getLogger("app.x").exception("it failed")
    line = json.loads(stream.getvalue())
    assert line["error"] == "ValueError"
    assert "test_an_exceptions_own_words_are_not_logged" in line["stack"][-1]
    assert "Mustermann" not in stream.getvalue()


def test_libraries_lines_look_like_ours_and_hold_no_extras_of_theirs(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").warning("Invalid %s", "request", extra={"color_message": "Mustermann"})
    line = json.loads(stream.getvalue())
    assert list(line) == ["time", "level", "logger", "message"]
    assert (line["level"], line["logger"], line["message"]) == ("warning", "uvicorn.error", "Invalid request")


def test_time_is_that_of_the_call_in_utc(stream: io.StringIO) -> None:
    logging.getLogger("app.x").handle(
        logging.makeLogRecord({"name": "app.x", "levelno": logging.INFO, "created": 1e9})
    )
    assert json.loads(stream.getvalue())["time"] == "2001-09-09T01:46:40.000+00:00"


def test_asyncio_does_not_quote_what_failed(stream: io.StringIO) -> None:
    async def fails() -> None:
        raise ValueError("Mustermann^Erika")

    async def nobody_asks() -> None:
        failing = asyncio.create_task(fails())
        await asyncio.wait([failing])
        asyncio.get_running_loop().call_soon(int, "Mustermann^Erika")

    asyncio.run(nobody_asks())
    gc.collect()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {line["error"] for line in lines} == {"ValueError"}
    assert {line["message"].strip() for line in lines} == {
        "Task exception was never retrieved",
        "Exception in callback int",
    }
    assert "Mustermann" not in stream.getvalue()


@pytest.mark.parametrize(
    ("name", "template", "arguments", "words"),
    [
        (
            "exporter.otlp.proto.http.trace_exporter",
            "Failed to export %s batch code: %s, reason: %s",
            ("spans", 401, "no key like SECRETKEY"),
            "traces were lost: the collector did not take them, status 401",
        ),
        (
            "exporter.otlp.proto.http.trace_exporter",
            "Failed to export %s batch code: %s, reason: %s",
            ("spans", None, ValueError("http://user:SECRETKEY@collector")),
            "traces were lost: the collector did not take them",
        ),
        ("sdk.of.tomorrow", "Something new: %s", ("SECRETKEY",), "OpenTelemetry has trouble with traces"),
        ("sdk.of.tomorrow", "Something new: SECRETKEY", (), "OpenTelemetry has trouble with traces"),
    ],
)
def test_opentelemetry_does_not_quote_addresses_and_answers(
    stream: io.StringIO, name: str, template: str, arguments: tuple[object, ...], words: str
) -> None:
    logging.getLogger(f"opentelemetry.{name}").error(template, *arguments)
    assert json.loads(stream.getvalue())["message"] == words
    assert "SECRETKEY" not in stream.getvalue()


def test_a_connections_library_does_not_quote_the_collectors_address(stream: io.StringIO) -> None:
    logging.getLogger("urllib3.connectionpool").warning("Failed to parse headers (url=%s)", "/?key=SECRETKEY")
    assert json.loads(stream.getvalue())["message"] == "a connection to the collector has trouble"


def test_a_request_has_its_own_id_and_none_remains(stream: io.StringIO) -> None:
    with logs.of_request("abc"):
        assert logs.request_id() == "abc"
    assert logs.request_id() == ""
    logging.getLogger("app.x").info("after")
    assert "request_id" not in json.loads(stream.getvalue())


def test_a_field_that_is_no_json_does_not_lose_the_line(stream: io.StringIO) -> None:
    logging.getLogger("app.x").info("said", extra={logs.FIELDS: {"where": PurePosixPath("x"), "word": "é"}})
    assert '"word": "é"' in stream.getvalue()
    assert json.loads(stream.getvalue())["message"] == "said"


@pytest.mark.parametrize("stream", ["console"], indirect=True)
def test_people_at_a_terminal_get_the_same_in_words(stream: io.StringIO) -> None:
    with logs.of_request("abc"):
        try:
            int("Mustermann^Erika")
        except ValueError:
            logging.getLogger("app.x").exception("it failed", extra={logs.FIELDS: {"status": 500}})
    first, *stack = stream.getvalue().splitlines()
    for word in ("error", "it failed", "app.x", "request_id=abc", "status=500", "error=ValueError"):
        assert word in first
    assert any("test_people_at_a_terminal" in place for place in stack)
    assert "Mustermann" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue(), "no colours where there is no terminal"
