"""What the application owns between start and stop, and what its routes reach for."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from app.api.admission import Admission
from app.engine.batcher import Batcher
from app.engine.classifier import Classifier
from app.settings import Settings
from app.telemetry.metrics import Metrics


@dataclass(slots=True)
class Service:
    """Everything that answering a request needs."""

    settings: Settings
    classifier: Classifier
    batcher: Batcher
    decoders: ThreadPoolExecutor
    metrics: Metrics
    admission: Admission
    max_batch: int
    draining: bool = field(default=False)

    @property
    def ready(self) -> bool:
        """Whether new films are taken."""
        return self.batcher.ready and not self.draining
