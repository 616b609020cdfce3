"""One process, one event loop, one listener; and how it stops without dropping what it accepted."""

import asyncio
import gc
import logging
import os
import time
from functools import partial
from types import FrameType
from typing import cast

import uvicorn

from app.api.service import Service
from app.connections import Connection, Connections, most_connections
from app.engine.classifier import Classifier
from app.main import create_app
from app.settings import Settings

log = logging.getLogger(__name__)

DEVICE_LOST = 5
"""Exit code where the device has not answered for too long."""


class DrainingServer(uvicorn.Server):
    """On the first SIGTERM or SIGINT: not ready, no new films, finish what was accepted, then exit with 0.

    It goes on listening meanwhile, so that readiness can be seen to fail. A second signal ends it at once.
    """

    def __init__(self, config: uvicorn.Config, *, drain_seconds: float) -> None:
        super().__init__(config)
        self._drain_seconds = drain_seconds
        self._deadline: float | None = None
        self._told = False
        self._was_idle = False

    @property
    def service(self) -> Service | None:
        """What the application owns, None before it has started."""
        app = self.config.app
        return getattr(getattr(app, "state", None), "service", None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, or end at once if told so twice."""
        if self._told:
            self.should_exit = self.force_exit = True
            return
        self._told = True
        self._deadline = self._deadline or time.monotonic() + self._drain_seconds
        if self.service is None:
            self.should_exit = True
        else:
            self.service.draining = True

    @property
    def device_lost(self) -> bool:
        """Whether the process is to be started anew, since the device does not answer any more."""
        return self.service is not None and self.service.device_lost

    async def on_tick(self, counter: int) -> bool:
        """Whether to leave the main loop: uvicorn's own reasons, or drained."""
        if self.device_lost and self._deadline is None:
            self._deadline = time.monotonic() + self._drain_seconds
        if self._deadline is not None and not self.should_exit:
            remaining = self._deadline - time.monotonic()
            idle = self.service is None or self.service.admission.taken == 0
            # Twice in a row: in between, what had come before the signal has been read from its sockets.
            drained, self._was_idle = idle and self._was_idle, idle
            if drained or remaining <= 0:
                # uvicorn lets answers that are being sent finish; whole seconds, and 0 would mean no time at all.
                self.config.timeout_graceful_shutdown = max(1, int(remaining))
                self.should_exit = True
            if not drained and remaining <= 0:
                self._cut_off()
        return await super().on_tick(counter)

    def _cut_off(self) -> None:
        """Cancel every request that is under way; each is answered with 503, see `RequestRecorder`."""
        tasks = list(self.server_state.tasks)
        log.warning("%d requests are cut off after %g s of draining", len(tasks), self._drain_seconds)
        for task in tasks:
            task.cancel()

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Start listening, and say where."""
        await super().startup(sockets=sockets)  # type: ignore[arg-type]
        # What has been imported stays: the collector need not look through it again and again.
        gc.collect()
        gc.freeze()
        if self.started:
            for server in self.servers:
                for listener in server.sockets:
                    host, port = listener.getsockname()[:2]
                    log.info("listening on http://%s:%s", f"[{host}]" if ":" in host else host, port)


def build_server(settings: Settings, classifier: Classifier | None = None) -> DrainingServer:
    """The application in its server, not started yet."""

    def on_refusal(code: str) -> None:
        if server.service is not None:
            server.service.metrics.rejected.labels(code).inc()

    connections = Connections(
        most=most_connections(None if settings.max_connections == "auto" else settings.max_connections),
        header_seconds=settings.header_timeout_s,
        answer_seconds=settings.answer_timeout_s,
        on_refusal=on_refusal,
    )
    config = uvicorn.Config(
        create_app(settings, classifier),
        host=settings.host,
        port=settings.port,
        root_path=settings.root_path,
        http=cast("type[asyncio.Protocol]", partial(Connection, shared=connections)),
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        # A proxy's word on who the client is would only matter to logs, which do not tell.
        proxy_headers=False,
    )
    server = DrainingServer(config, drain_seconds=settings.drain_s)
    return server


def serve(settings: Settings, classifier: Classifier) -> None:
    """Serve until a signal ends it, or the device is lost."""
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = build_server(settings, classifier)
    server.run()
    if server.device_lost:
        logging.shutdown()
        # A thread that waits for the device for ever would keep the interpreter from ending in the usual way.
        os._exit(DEVICE_LOST)
