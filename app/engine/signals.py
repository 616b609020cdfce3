"""The signals of which drift is told, and the edges at which each is counted.

The service's histograms and the reference in a model file share these edges, so that the one can be held against
the other without guessing between them.
"""

from typing import Literal, get_args

Signal = Literal["probability", "novelty", "brightness"]
SIGNALS: tuple[Signal, ...] = get_args(Signal)

EDGES: dict[Signal, tuple[float, ...]] = {
    # Finer at both ends, where nearly all films lie.
    "probability": (0.01, *(twentieth / 20 for twentieth in range(1, 20)), 0.99, 0.999),
    # About 1 for films like the training's; a photograph lies in the hundreds.
    "novelty": (
        *(0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0),
        *(16.0, 32.0, 64.0, 128.0, 256.0, 1024.0),
    ),
    # Mean grey level, 0 to 255.
    "brightness": (
        *(16.0, 32.0, 48.0),
        *(float(level) for level in range(64, 193, 8)),
        *(208.0, 224.0, 240.0),
    ),
}
"""Upper edges, rising: a bucket counts what lies at or below its own, as Prometheus's do."""
