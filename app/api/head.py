"""HEAD wherever there is GET: the same answer without its body, which the server leaves out."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import PROBLEM


class HeadAsGet:
    """Has a HEAD request answered as a GET request would be (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        as_get = {**scope, "method": "GET"}

        async def send_noting_route(message: Message) -> None:
            # The log and the metrics read them from the request's own scope.
            for found in ("route", "caller", PROBLEM):
                if found in as_get:
                    scope[found] = as_get[found]
            await send(message)

        await self._app(as_get, receive, send_noting_route)
