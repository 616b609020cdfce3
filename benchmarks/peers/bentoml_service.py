"""BentoML: adaptive batching, and as many workers as are asked for.

https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html
"""

import bentoml
from PIL.Image import Image

from benchmarks.peers.film import MAX_BATCH, ON_CUDA, WORKERS, square
from benchmarks.peers.model import Model, threads_a_worker

ANSWER_WITHIN_MS = 60_000


@bentoml.service(
    workers=WORKERS,
    traffic={"timeout": ANSWER_WITHIN_MS // 1000},
    resources={"gpu": 1} if ON_CUDA else {"cpu": str(WORKERS)},
)
class Pneumonia:
    """One worker."""

    def __init__(self) -> None:
        self.model = Model(threads_a_worker())

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=ANSWER_WITHIN_MS)
    def predict(self, file: list[Image]) -> list[float]:
        """A batch's probabilities."""
        return self.model([square(film) for film in file])
