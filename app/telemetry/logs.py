"""Logs as JSON lines by structlog, each with the ids of the request and of the trace that it belongs to.

Everybody logs by `logging.getLogger(__name__)`, as libraries do, so that all lines come out alike. They hold no
file names, pixels or tags: messages are written here with that in mind, and of an unexpected exception only its
type and where it came from are kept, since its message may quote an upload.
"""

import json
import logging
import sys
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Literal, TextIO

from structlog.contextvars import bound_contextvars, get_contextvars, merge_contextvars
from structlog.dev import ConsoleRenderer
from structlog.processors import JSONRenderer
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from app.telemetry.phrases import own_words

Format = Literal["json", "console"]

FIELDS = "fields"
"""Key of `extra` under which a log call passes a dict of further fields. No other extra is shown."""


def of_request(request_id: str) -> AbstractContextManager[None]:
    """Give every line that is logged inside this the id of the request being answered."""
    return bound_contextvars(request_id=request_id)


def request_id() -> str:
    """The id of the request being answered, empty outside of one."""
    identifier: str = get_contextvars().get("request_id", "")
    return identifier


def configure(level: str, *, style: Format = "json", stream: TextIO | None = None) -> None:
    """Send every logger of this process to `stream` (standard error) from `level` on.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        style: `json`, a line of JSON each, or `console`, for people at a terminal.
        stream: where to.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            processors=[
                _heading,
                merge_contextvars,
                _further_fields,
                _error,
                ProcessorFormatter.remove_processors_meta,
                *_renderer(style, stream),
            ],
            pass_foreign_args=True,
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for chatty in ("PIL", "asyncio", "httpx", "httpcore", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _renderer(style: Format, stream: TextIO) -> Sequence[Processor]:
    if style == "json":
        return [JSONRenderer(serializer=json.dumps, ensure_ascii=False)]
    console = ConsoleRenderer(
        colors=stream.isatty(), sort_keys=False, event_key="message", timestamp_key="time", pad_event_to=0
    )
    return [_stack_as_text, console]


def _heading(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """What each line begins with; what else there is follows."""
    record: logging.LogRecord = event["_record"]
    arguments = event.pop("positional_args", ()) or ()
    return {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": own_words(record.name, event.pop("event"), str(record.msg), arguments),
        **event,
    }


def _further_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event.update(getattr(event["_record"], FIELDS, {}))
    return event


def _error(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """An exception's type and where it came from instead of its traceback, which ends with its message."""
    event.pop("stack_info", None)
    kind, _, trace = event.pop("exc_info", None) or (None, None, None)
    if kind is not None:
        event["error"] = kind.__name__
        event["stack"] = [
            f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)
        ]
    return event


def _stack_as_text(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if "stack" in event:
        event["stack"] = "\n".join(event["stack"])
    return event
