"""One client's connection: how long it may take to ask, how much it may say, and how many there may be.

What a request costs once it has been asked is bounded by `app.api.limits` and `app.api.admission`. Here is what
uvicorn leaves open: who connects and says nothing, who never comes to the end of its headers, and who does not
take its answer.
"""

import asyncio
import contextlib
import logging
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.api.errors import HeadersTooLarge, HeadersTooSlow, TooManyConnections, kind_of, retry_after
from app.api.limits import MAX_HEAD_BYTES
from app.api.problems import MEDIA_TYPE, problem_of
from app.api.requests import SAFE_HEADERS
from app.protocol import Protocol
from app.telemetry import logs

if sys.platform != "win32":
    import resource

log = logging.getLogger(__name__)

DROP_SECONDS = 10.0
"""How long the rest of a request that has been answered is taken in and dropped."""

LINGER_SECONDS = 1.0
"""How long a refused connection stays, so that its client can read why."""

MOST_LINGERING = 16
"""So many refused connections stay that long; further ones end at once."""

KEPT_HANDLES = 32
"""File handles kept free of connections: for the log, and for libraries that open a file now and then."""

MOST_CONNECTIONS = 4096
"""By default there are no more connections than this, even where there are more handles."""

_FRAMING = 8
"""So many bytes beside it may a byte of a chunked body have; one sent in chunks of a byte has five."""

_WARN_SECONDS = 10.0


def most_connections(wanted: int | None) -> int:
    """How many connections there may be: `wanted`, or by default as many as make sense, but never too many.

    Too many are those for which this process would have no file handles.
    """
    free = _free_handles()
    if free is None:
        return wanted or MOST_CONNECTIONS
    if wanted is not None and wanted > free:
        log.warning("%d connections are allowed, but there are file handles for %d", wanted, free)
    return min(wanted or MOST_CONNECTIONS, free)


def _free_handles() -> int | None:
    """How many connections the file handles of this process suffice for, at least 1; None where nobody tells."""
    if sys.platform == "win32":
        return None
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return None
    try:
        taken = len(list(Path("/dev/fd").iterdir()))
    except OSError:
        taken = KEPT_HANDLES
    return max(1, most - taken - KEPT_HANDLES)


@dataclass(slots=True)
class Connections:
    """What the connections of one server share."""

    most: int
    """How many there may be."""
    header_seconds: float
    """How long a client may take from its first byte, or from connecting, to the end of its headers."""
    answer_seconds: float
    """How long it may take to read an answer."""
    on_refusal: Callable[[str], None]
    """Called with the code of each problem that is answered here."""
    idle: dict["Connection", None] = field(default_factory=dict)
    """Those without a request, the one that has been so for longest first."""
    open: set["Connection"] = field(default_factory=set)
    lingering: int = 0
    warned: float = float("-inf")

    def admit(self, coming: "Connection", now: float) -> bool:
        """Whether there is room for one more; if need be the one goes that has been idle for longest."""
        if len(self.open) >= self.most:
            if now > self.warned + _WARN_SECONDS:
                self.warned = now
                log.warning("all %d connections are taken", self.most)
            longest = next((one for one in self.idle if one.all_sent), None)
            if longest is None:
                return False
            self.forget(longest)
            longest.transport.abort()
        self.open.add(coming)
        self.idle[coming] = None
        return True

    def forget(self, gone: "Connection") -> None:
        """Count a connection no more."""
        self.open.discard(gone)
        self.idle.pop(gone, None)


class Connection(Protocol):
    """A connection that ends if it idles, dawdles over its headers or over its answer, or says too much."""

    def __init__(self, *args: Any, shared: Connections, **options: Any) -> None:
        """As uvicorn makes it, with what all connections share."""
        super().__init__(*args, **options)
        self._shared = shared
        self._drop_until: float | None = None
        self._in_message = False
        self._bytes = self._body_bytes = 0
        self._header_timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None

    @property
    def all_sent(self) -> bool:
        """Whether the system has taken every byte of what was answered."""
        return self.transport.get_write_buffer_size() == 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, for a while, if there is room for the connection."""
        super().connection_made(transport)
        if self._shared.admit(self, self.loop.time()):
            self._await_headers()
        else:
            self._refuse(TooManyConnections("This service has as many connections as it takes."))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._shared.forget(self)
        self._headers_came()
        self._stop_watching_answer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come; what belongs to a request that has been answered is dropped, for a while."""
        if self._refused or self._deaf or self.transport.is_closing():
            return
        if self._in_message:
            self._bytes += len(data)
        if self._answer_timer is not None and self.all_sent:
            self._stop_watching_answer()
        super().data_received(data)
        if self._refused or self._deaf or self.transport.is_closing():
            return
        if self._in_message and self._bytes > MAX_HEAD_BYTES + (1 + _FRAMING) * self._body_bytes:
            self._refuse(HeadersTooLarge("The request's headers are larger than is taken here."))
        elif self._header_timer is not None or self.cycle is None or not self.cycle.response_complete:
            self._drop_until = None
        else:
            self._drop()

    def _drop(self) -> None:
        now = self.loop.time()
        self._drop_until = self._drop_until or now + DROP_SECONDS
        if now > self._drop_until:
            self.transport.close()
            return
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def on_message_begin(self) -> None:
        """The first byte of a request is there."""
        self._in_message = True
        self._bytes = self._body_bytes = 0
        if self._header_timer is None:
            self._await_headers()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; what comes behind a body is none that anybody here wants."""
        if self._header_timer is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A request is there, but for its body."""
        self._headers_came()
        self._shared.idle.pop(self, None)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A whole request is there."""
        self._in_message = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer has been handed on, which need not mean that the client has taken it."""
        super().on_response_complete()
        self._watch_answer()
        if self.cycle.response_complete and self in self._shared.open:
            self._shared.idle[self] = None

    def pause_writing(self) -> None:
        """The client does not take its answer as fast as it is there."""
        super().pause_writing()
        self._watch_answer()

    def _await_headers(self) -> None:
        self._header_timer = self.loop.call_later(self._shared.header_seconds, self._headers_too_slow)

    def _headers_came(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _headers_too_slow(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False  # a request before it is still to be answered
        elif self._in_message:
            self._refuse(HeadersTooSlow("The request's headers did not arrive in time."))
        else:  # who said nothing is told nothing
            self.transport.close()

    def _watch_answer(self) -> None:
        if self._answer_timer is None and not self.all_sent:
            self._answer_timer = self.loop.call_later(self._shared.answer_seconds, self._answer_too_slow)

    def _stop_watching_answer(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None

    def _answer_too_slow(self) -> None:
        self._answer_timer = None
        if not self.all_sent:
            log.warning("a client did not take its answer in %g s", self._shared.answer_seconds)
            self.transport.abort()

    def _refuse(self, error: Exception) -> None:
        """Answer with a problem, as no request is there that could be answered, and end the connection."""
        self._headers_came()
        self._unset_keepalive_if_required()
        self._refused = True
        kind = kind_of(error)
        self._shared.on_refusal(kind.code)
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering or self._shared.lingering >= MOST_LINGERING:
            self.transport.abort()
            return
        with logs.of_request(uuid.uuid4().hex):
            self.transport.write(self._answer(error))
        with contextlib.suppress(OSError, RuntimeError):
            self.transport.write_eof()
        self._shared.lingering += 1
        self.loop.call_later(LINGER_SECONDS, self._end)

    def _answer(self, error: Exception) -> bytes:
        kind = kind_of(error)
        body = problem_of(error, root_path=self.root_path).model_dump_json(exclude_none=True).encode()
        seconds = retry_after(error, kind)
        headers = {
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(body)),
            "Connection": "close",
            "X-Request-ID": logs.request_id(),
            **({} if seconds is None else {"Retry-After": str(seconds)}),
            **SAFE_HEADERS,
        }
        lines = "".join(f"{name.lower()}: {value}\r\n" for name, value in headers.items())
        return STATUS_LINE[kind.status] + lines.encode() + b"\r\n" + body

    def _end(self) -> None:
        self._shared.lingering -= 1
        self.transport.abort()
