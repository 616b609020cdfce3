"""HTTP/1.1 as uvicorn speaks it, but for what RFC 9112 wants otherwise."""

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.api.errors import MalformedRequest

MOST_WAITING = 16
"""So many requests of one connection may wait for the answer to the one before them."""


class TooManyWaiting(Exception):
    """Ends the parser's work in the middle of a packet."""


class Protocol(HttpToolsProtocol):
    """Ignores wishes for another protocol, and bounds how many requests are taken ahead of their answers.

    Upgrade: the parser ends such a request behind its headers, so that its body would be taken for the next
    request, of which a proxy in front knows nothing (request smuggling). A server may ignore `Upgrade` (RFC 9110,
    7.8): a parser is given the headers once more without it, and reads the body as a body.

    Pipelining: what comes behind the last request that may wait is dropped, and the connection ends with the
    answer to that one; a client has to send the others again (RFC 9112, 9.3.2).
    """

    _plain_head: bytes | None = None
    _answering: RequestResponseCycle | None = None
    _deaf = False
    _refused = False

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        rest = memoryview(data)
        while rest and not (self._refused or self._deaf or self.transport.is_closing()):
            rest = rest[self._feed(rest) :]

    def _feed(self, data: bytes | memoryview) -> int:
        """How many bytes of `data` the parser took."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._plain_head is None:
                self._refuse(MalformedRequest("This service is no proxy."))
            else:
                self.parser = httptools.HttpRequestParser(self)  # the other one may be at its end
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self._feed(self._plain_head)
            return int(upgrade.args[0])
        except httptools.HttpParserError:
            if self._deaf:
                return len(data)
            self._refuse_malformed()
        return len(data)

    def _refuse(self, error: Exception) -> None:
        """Tell the client why nothing more is read, and end the connection."""
        raise NotImplementedError

    def _refuse_malformed(self) -> None:
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started or not cycle.more_body:
                self._take_no_more()  # what came before is answered
                return
            if cycle is self._answering:
                self._forsake(cycle)
                self.cycle = None  # type: ignore[assignment]
        self._refuse(MalformedRequest("What was sent is no request of HTTP/1.1."))

    def _take_no_more(self) -> None:
        self._deaf = True
        self.cycle.keep_alive = self.cycle.more_body = False
        self.cycle.message_event.set()

    @staticmethod
    def _forsake(cycle: RequestResponseCycle) -> None:
        cycle.disconnected = True
        cycle.message_event.set()

    def on_headers_complete(self) -> None:
        """A request is there, but for its body."""
        if self.parser.should_upgrade():
            self._plain_head = self._without_upgrade()
        elif len(self.pipeline) >= MOST_WAITING:
            self._take_no_more()
            raise TooManyWaiting
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if not self.parser.should_upgrade():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A whole request is there."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the request that waits for longest; as long as others wait, no more are read."""
        super().on_response_complete()
        if self.pipeline and not self._deaf:
            self.flow.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered, which need not be the last one that came."""
        super().connection_lost(exc)
        self.pipeline.clear()
        if self._answering is not None and not self._answering.response_complete:
            self._forsake(self._answering)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _without_upgrade(self) -> bytes | None:
        """The request's line and headers again; None where what follows is no body, whatever they say."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            return None
        line = b"%b %b HTTP/%b\r\n" % (method, self.url, self.parser.get_http_version().encode())
        kept = (b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade")
        return b"".join((line, *kept, b"\r\n"))
