"""Which uploads are taken: decided before their bodies are read, and again before they are decoded."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.errors import Overloaded, RateExceeded
from app.engine.batcher import retry_after

if TYPE_CHECKING:
    from app.api.service import Service


@dataclass(frozen=True, slots=True)
class _Route:
    """What tells the log and the metrics of a refusal where it was refused."""

    path: str


FILM_ROUTES = {
    "/predict": re.compile(r"/predict"),
    "/predict/batch": re.compile(r"/predict/batch"),
    "/explain": re.compile(r"/explain"),
    "/film": re.compile(r"/film"),
    "/v2/models/{model}/infer": re.compile(r"/v2/models/[^/]+/infer"),
    "/v2/models/{model}/versions/{version}/infer": re.compile(r"/v2/models/[^/]+/versions/[^/]+/infer"),
}
"""The routes that take films, and the paths that are theirs."""


class Admission:
    """A number of places, and a longest wait. One event loop uses it, so that plain counting is safe."""

    def __init__(
        self, places: int, *, max_wait: Callable[[], float], expected_wait: Callable[[], float]
    ) -> None:
        """Nothing is taken yet.

        Args:
            places: most uploads under way at once.
            max_wait: the longest that a film may have to wait for its turn, in seconds.
            expected_wait: the seconds that a film which comes now would wait.
        """
        self._places = places
        self._max_wait = max_wait
        self._expected_wait = expected_wait
        self.taken = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one place.

        Raises:
            Overloaded: all are taken, or the wait is too long.
        """
        self.judge()
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    def judge(self) -> None:
        """Refuse if there is no place, or a film that comes now would wait too long.

        Raises:
            Overloaded: so it is.
        """
        if self.taken >= self._places:
            raise Overloaded(retry_after(self._expected_wait()))
        self.judge_wait()

    def judge_wait(self) -> None:
        """Refuse if a film that comes now would wait too long.

        Raises:
            Overloaded: it would.
        """
        wait = self._expected_wait()
        if wait > self._max_wait():
            raise Overloaded(retry_after(wait))


class AdmissionGate:
    """Refuses films for which there is no room before anything else is done for them.

    Under overload nearly all requests are refused, so a refusal must cost next to nothing. Here nothing has been
    routed or parsed yet; the body is left to the server, which drops it as it comes and keeps the connection.
    Bodies without an end that is known and allowed are left to `BodyLimit`, and so are clients that wait for
    leave to send, or whose connection ends with the answer: it must not end while they are sending.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, unless it brings films and there is no room for them.

        Raises:
            Overloaded: so it is.
            RateExceeded: its caller has to wait before sending more.
        """
        if scope["type"] == "http" and scope["method"] == "POST":
            service: Service | None = getattr(scope["app"].state, "service", None)
            if service is not None and service.ready and self._stays(scope):
                self._judge(service, scope)
        await self._app(scope, receive, send)

    def _judge(self, service: "Service", scope: Scope) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        template = next((route for route, pattern in FILM_ROUTES.items() if pattern.fullmatch(path)), None)
        if template is not None:
            try:
                service.admission.judge()
                service.judge_rate(scope)
            except (Overloaded, RateExceeded):
                scope["route"] = _Route(template)
                raise

    def _stays(self, scope: Scope) -> bool:
        """Whether the connection can stay open while the server drops the body."""
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        return (
            length.isdecimal()
            and int(length) <= self._max_bytes
            and "expect" not in headers
            and "close" not in headers.get("connection", "").lower()
            and scope.get("http_version") != "1.0"
        )
