"""What a comparison of networks found: every number of its page, as `comparison.json`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from app.engine.manifest import Estimate, Evaluation
from training.recipe import Recipe

SERVED_SIDE = 224
"""Side of the films that the service sees; latency is told at it, whatever side was trained at."""

Outcome = Literal["learnt", "did not learn", "diverged"]


class Part(BaseModel):
    """Frozen, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Judgement(Part):
    """A trained network on its held-out fold, calibrated and with a threshold tuned there.

    `restyled`, `reframed`: the same films with the style, and with the shape, of the other class
    (`training.restyle`), at the same calibration and threshold. `scores`: probabilities of pneumonia, [films], in
    the fold's order.
    """

    threshold: float
    evaluation: Evaluation
    restyled: Evaluation
    reframed: Evaluation
    scores: tuple[float, ...]


class Epoch(Part):
    """One pass over the films, with what the monitored ones said after it."""

    epoch: int
    loss: float
    monitor_loss: float
    monitor_auc: float


class Trained(Part):
    """One network: how large it is, how it learnt and what it can do.

    `gflops`: 10⁹ floating-point operations a film, two a multiply-accumulate. `judgement`: None where its loss was
    no number. `seconds`, `processor_seconds`: of its training, by the clock and over all cores.
    """

    architecture: str
    parameters: int
    gflops: float
    seconds: float
    processor_seconds: float
    history: tuple[Epoch, ...]
    judgement: Judgement | None

    @property
    def outcome(self) -> Outcome:
        """Whether it learnt: whether the interval of its AUC lies above one half."""
        if self.judgement is None:
            return "diverged"
        return "learnt" if self.judgement.evaluation.auc.low > 0.5 else "did not learn"


class Latency(Part):
    """What the network costs to serve as ONNX in single precision, on the CPU, one film at a time.

    `side`: of the films. `milliseconds`: median of a film. `file_bytes`: size of the file. `gflops`: as in
    `Trained`, at this side.
    """

    architecture: str
    side: int
    milliseconds: float
    file_bytes: int
    gflops: float


class Comparison(Part):
    """The whole page.

    `recipe`: of every network, but for its name. `labels`: of the held-out films, 1 pneumonia, in the order of
    every `scores`. `differences`: each network's AUC less the best one's, on the same resamples of the patients.
    `left_out`: why a network has no row, by its name.
    """

    command: str
    machine: str
    libraries: dict[str, str]
    recipe: Recipe
    films: int
    patients: int
    held_out_films: int
    labels: tuple[int, ...]
    networks: tuple[Trained, ...]
    differences: dict[str, Estimate]
    latencies: tuple[Latency, ...]
    left_out: dict[str, str]

    @property
    def judged(self) -> list[tuple[Trained, Judgement]]:
        """Networks with figures, in the order of the comparison."""
        return [(each, each.judgement) for each in self.networks if each.judgement]

    def latency(self, architecture: str, side: int) -> Latency:
        """What `architecture` costs at `side`."""
        return next(each for each in self.latencies if (each.architecture, each.side) == (architecture, side))
