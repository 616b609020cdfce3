"""The service over a device that fails from SIGUSR1 on, hangs from SIGUSR2 on, and works again from SIGHUP on."""

import signal
from unittest import mock

from app import cli
from app.commands import opening
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

    for number, what in ((signal.SIGUSR1, fail), (signal.SIGUSR2, hang), (signal.SIGHUP, work)):
        signal.signal(number, what)
    with mock.patch.object(opening, "open_classifier", open_gated):
        cli.main()


if __name__ == "__main__":
    main()
