import io
import json
import logging
from collections.abc import Iterator

import pytest

from app.telemetry import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the root logger writes, put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    logs.configure("info", stream=written)
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
