"""What a comparison of networks found: every number of its page, as `comparison.json`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from app.engine.manifest import Estimate
from training.judgement import Judgement
from training.recipe import Recipe

Outcome = Literal["learnt", "did not learn", "learnt the reverse", "diverged"]


class Part(BaseModel):
    """Frozen, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Epoch(Part):
    """One pass over the films, with what the monitored ones said after it."""

    epoch: int
    loss: float
    monitor_loss: float
    monitor_auc: float


class Trained(Part):
    """One network: how large it is, how it learnt and what it can do.

    `films_sha256`: names the data set. `gflops`: 10⁹ floating-point operations a film, two a multiply-accumulate.
    `judgement`: None where its loss was no number. `seconds`, `processor_seconds`: of its training, by the clock
    and over all cores.
    """

    architecture: str
    films_sha256: str
    parameters: int
    gflops: float
    seconds: float
    processor_seconds: float
    history: tuple[Epoch, ...]
    judgement: Judgement | None

    @property
    def outcome(self) -> Outcome:
        """Whether it learnt: whether the interval of its AUC lies above one half, holds it, or lies below."""
        if self.judgement is None:
            return "diverged"
        auc = self.judgement.evaluation.auc
        if auc.high < 0.5:
            return "learnt the reverse"
        return "learnt" if auc.low > 0.5 else "did not learn"


class Served(Part):
    """What the network costs as the file that `model_export` writes of it, on the CPU by the service's engine.

    `milliseconds`: median of a film by itself. `file_bytes`: size of `model.onnx`, in half precision.
    """

    architecture: str
    milliseconds: float
    file_bytes: int


class Comparison(Part):
    """The whole page.

    `recipe`: of every network, but for its name. `labels`: of the held-out films, 1 pneumonia, in the order of
    every `scores`. `differences`: each network's AUC less the best one's, on the same resamples of the patients.
    `left_out`,
    `not_exported`: why a network has no row, and no cost, by its name.
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
    served: tuple[Served, ...]
    not_exported: dict[str, str]
    left_out: dict[str, str]

    @property
    def judged(self) -> list[tuple[Trained, Judgement]]:
        """Networks with figures, in the order of the comparison."""
        return [(each, each.judgement) for each in self.networks if each.judgement]

    def cost(self, architecture: str) -> Served | None:
        """What `architecture` costs to serve; None where it was not exported."""
        return next((each for each in self.served if each.architecture == architecture), None)
