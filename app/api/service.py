"""What the application owns between start and stop, and what its routes reach for."""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from starlette.types import Scope

from app.api.admission import Admission
from app.api.callers import caller_of
from app.api.decoding import DecodingPool
from app.api.errors import Draining
from app.api.rates import Rates
from app.engine.batcher import Batcher
from app.engine.classifier import Classifier
from app.engine.errors import DeviceLost
from app.engine.watchdog import Watchdog
from app.keys import KeyRing
from app.settings import Settings
from app.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Service:
    """Everything that answering a request needs."""

    settings: Settings
    classifier: Classifier
    batcher: Batcher
    decoders: DecodingPool
    metrics: Metrics
    admission: Admission
    keys: KeyRing = field(default_factory=KeyRing)
    rates: Rates | None = field(default=None)
    draining: bool = field(default=False)
    device_lost: bool = field(default=False)
    """Whether the device has not answered for so long that the process is to be started anew."""

    @property
    def ready(self) -> bool:
        """Whether new films are taken."""
        return self.batcher.ready and not self.draining and not self.device_lost

    def require_ready(self) -> None:
        """Go on only if new films are taken.

        Raises:
            Draining: the service is shutting down.
            DeviceLost: see `require_alive`.
            Warming: not every batch size has been run yet, or the device failed.
        """
        self.require_alive()
        if self.draining:
            raise Draining("The service is shutting down.")
        self.batcher.require_warm()

    def require_alive(self) -> None:
        """Go on only if the process need not be started anew.

        Raises:
            DeviceLost: the device has not answered for `DEVICE_TIMEOUT_S`.
        """
        if self.device_lost:
            raise DeviceLost("The device has not answered for too long.")

    async def watch_device(self) -> None:
        """Wait until the device has not answered for too long; then it is lost, and every film told so."""
        watchdog = Watchdog(self.settings.device_timeout_s)
        while not watchdog.expired:
            await asyncio.sleep(watchdog.interval)
            watchdog.look(self.batcher.owed, time.monotonic())
        log.critical(
            "the device has not answered for %g s: the service is to be started anew",
            self.settings.device_timeout_s,
        )
        self.device_lost = True
        self.batcher.give_up()

    def judge_rate(self, scope: Scope) -> None:
        """Go on only if the request's caller may send one more film now.

        Raises:
            RateExceeded: not yet.
        """
        if self.rates is not None:
            self.rates.judge(caller_of(scope, self.keys))

    def charge(self, scope: Scope, films: int, *, known: int = 0) -> None:
        """Count the request's films, of which `known` were counted before.

        Raises:
            RateExceeded: its caller has to wait before sending so many.
            TooManyFiles: they are more than a caller may ever send at once.
        """
        if self.rates is not None:
            self.rates.charge(caller_of(scope, self.keys), films, known=known)


def expected_wait(decoders: DecodingPool, batcher: Batcher) -> float:
    """Seconds until the device would come to a film that is handed in now.

    Requests take turns, so one film of each has to pass the device before it, and all that are not decoded yet
    the decoders; both work at the same time, so the slower of the two decides. Uploads that are still being
    received do not count: nobody knows when they will be there, and slow clients must not keep others out.
    """
    return max(decoders.expected_wait(), batcher.expected_wait(decoders.owners))
