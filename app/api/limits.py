"""Bounds on what a client may send, held before anything is parsed. Pure ASGI, to see every byte."""

import asyncio
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import (
    AddressTooLong,
    BodyTooLarge,
    HeadersTooLarge,
    HostRefused,
    MalformedRequest,
    UploadTooSlow,
)

MAX_ADDRESS_BYTES = 2048
"""Longest path and query together."""

MAX_HEADERS = 100
"""Most headers that a request may have."""

MAX_HEAD_BYTES = 32 * 1024
"""Most bytes that they and its address may have together."""

_LINGER_SECONDS = 10.0


class HeadLimit:
    """Counts a request's headers and their bytes. What never ends is cut off by `app.connections`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request if it has few headers.

        Raises:
            HeadersTooLarge: it has not.
        """
        if scope["type"] == "http":
            headers = scope["headers"]
            size = len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
            size += sum(len(name) + len(value) + 4 for name, value in headers)
            if len(headers) > MAX_HEADERS or size > MAX_HEAD_BYTES:
                raise HeadersTooLarge("The request's headers are more, or larger, than is taken here.")
        await self._app(scope, receive, send)


class BodyLimit:
    """Counts the bytes of a request's body as they arrive, and the time they take.

    Where the answer is complete before the body is (a refusal), the rest of the body is thrown away for a few
    seconds and the connection is then closed. Closing at once would reset it, and a client that is still
    sending would never see why it was refused.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request with its body counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(Headers(scope=scope), receive, send, self._max_bytes, self._timeout_seconds)
        await self._app(scope, body.receive, body.send)


class _Body:
    """One request's body on its way in, and the answer on its way out."""

    def __init__(
        self, headers: Headers, receive: Receive, send: Send, max_bytes: int, timeout_seconds: float
    ) -> None:
        self._receive = receive
        self._send = send
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        self._announced = headers.get("content-length", "")
        self._complete = self._announced in ("", "0") and "transfer-encoding" not in headers
        # A client that waits for leave to send has not sent, and goes away on a refusal.
        self._waits_for_leave = headers.get("expect", "").lower() == "100-continue"
        self._received = 0
        self._deadline = asyncio.get_running_loop().time() + timeout_seconds
        self._closing = False

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()
        if self._announced.isdecimal() and int(self._announced) > self._max_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise UploadTooSlow(f"The upload took longer than {self._timeout_seconds:g} seconds.") from None
        self._note(message)
        if self._received > self._max_bytes:
            raise self._too_large()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._complete:
            self._closing = True
            message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if self._closing and last and not self._waits_for_leave:
            await self._send({**message, "more_body": True})
            await self._discard()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    def _note(self, message: Message) -> None:
        self._received += len(message.get("body", b""))
        self._complete = message["type"] == "http.disconnect" or not message.get("more_body", False)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The upload is larger than the {self._max_bytes:,} bytes that are taken here.")

    async def _discard(self) -> None:
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while not self._complete:
                    self._note(await self._receive())
        except TimeoutError:
            return


class HostLimit:
    """Refuses requests that were sent to a host name that is not ours."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str]) -> None:
        self._app = app
        self._any = "*" in hosts
        self._exact = {host.lower() for host in hosts if not host.startswith("*")}
        self._suffixes = tuple(host[1:].lower() for host in hosts if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request if its host is ours.

        Raises:
            MalformedRequest: it names several, or none, which HTTP/1.1 does not allow (RFC 9112, 3.2).
            HostRefused: it names another.
        """
        if scope["type"] == "http":
            self._check(Headers(scope=scope).getlist("host"), scope["http_version"])
        await self._app(scope, receive, send)

    def _check(self, hosts: list[str], http_version: str) -> None:
        if len(hosts) > 1 or (not hosts and http_version == "1.1"):
            raise MalformedRequest("A request of HTTP/1.1 names one host.")
        host = "".join(hosts).lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if not self._any and name not in self._exact and not name.endswith(self._suffixes or ("\0",)):
            raise HostRefused("This service is not known by that host name.")


class AddressLimit:
    """Refuses a path and query that are longer than any that the service knows, before they are taken apart."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request if its address is not too long."""
        if scope["type"] == "http":
            length = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
            if length > MAX_ADDRESS_BYTES:
                raise AddressTooLong(f"The path and the query are longer than {MAX_ADDRESS_BYTES:,} bytes.")
        await self._app(scope, receive, send)
