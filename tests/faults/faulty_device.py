"""The service over a device that fails from SIGUSR1 on, hangs from SIGUSR2 on, and works again from SIGHUP on.

From SIGALRM on the thread that runs it ends at the next film.
"""

import signal
from unittest import mock

from app import cli
from app.commands import opening
from app.engine import batcher
from app.engine.classifier import Classifier
from app.settings import Settings
from tests.app.live import Gate, gated


def main() -> None:
    """Serve."""
    gates: list[Gate] = []

    def open_gated(settings: Settings) -> Classifier:
        classifier, gate = gated(settings.model_dir)
        gates.append(gate)
        return classifier

    def fail(*_: object) -> None:
        gates[0].broken = True

    def hang(*_: object) -> None:
        gates[0].close()

    def work(*_: object) -> None:
        gates[0].broken = False
        gates[0].open()

    def end(*_: object) -> None:
        mock.patch.object(batcher, "share", side_effect=MemoryError).start()

    signals = {signal.SIGUSR1: fail, signal.SIGUSR2: hang, signal.SIGHUP: work, signal.SIGALRM: end}
    for number, what in signals.items():
        signal.signal(number, what)
    with mock.patch.object(opening, "open_classifier", open_gated):
        cli.main()


if __name__ == "__main__":
    main()
