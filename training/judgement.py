"""What a network that was just trained is worth on the fold it never saw, as it is, restyled and reframed."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from app.engine.manifest import Evaluation
from training.calibrate import describe_threshold, fit_scaling
from training.dataset import Dataset
from training.metrics import Scored, evaluate
from training.restyle import CHANGES

Logits = npt.NDArray[np.float32]


class Judgement(BaseModel):
    """A trained network on its held-out fold, calibrated and with a threshold tuned there.

    `restyled`, `reframed`: the same films with the style, and with the shape, of the other class
    (`training.restyle`), at the same calibration and threshold. `scores`: probabilities of pneumonia, [films], in
    the fold's order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float
    evaluation: Evaluation
    restyled: Evaluation
    reframed: Evaluation
    scores: tuple[float, ...]


def judge_held_out(held_out: Dataset, logits_of: Callable[[Dataset], Logits]) -> Judgement:
    """Calibrate on the held-out films, choose the threshold there, and judge them and their changed copies.

    Args:
        held_out: films that the network never saw, of both classes.
        logits_of: their pneumonia logits, float32 [films].
    """
    logits = logits_of(held_out)
    scaling = fit_scaling(logits, held_out.labels)
    scored = Scored.of(held_out, scaling(logits))
    threshold = describe_threshold(scored).value

    def changed(change: str) -> Evaluation:
        films = replace(held_out, pixels=CHANGES[change](held_out))
        return evaluate(Scored.of(films, scaling(logits_of(films))), threshold)

    return Judgement(
        threshold=threshold,
        evaluation=evaluate(scored, threshold),
        restyled=changed("restyled"),
        reframed=changed("reframed"),
        scores=tuple(scored.scores.tolist()),
    )
