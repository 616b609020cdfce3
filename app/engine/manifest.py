"""What a model file promises: its tensors, and the manifest in its metadata.

One ONNX file carries the weights, the pre- and post-processing and this manifest (JSON, under the metadata
key `manifest`); nothing beside it has to match it.
"""

from datetime import datetime
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

METADATA_KEY = "manifest"

Share = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """A frozen piece of the manifest that admits no unknown field and no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(Part):
    """A figure with its 95 % interval (percentile bootstrap, patients resampled)."""

    value: float
    low: float
    high: float


class Threshold(Part):
    """Probabilities at or above `value` are labelled PNEUMONIA.

    `rule` says in words how it was chosen. `sensitivity` and `specificity` are those of the films that it was
    chosen on; both are None where a user's own model came without films.
    """

    value: Annotated[float, Field(gt=0, lt=1)]
    rule: str
    target_sensitivity: Share | None = None
    sensitivity: Estimate | None = None
    specificity: Estimate | None = None


class Calibration(Part):
    """`probability = sigmoid(pneumonia logit / temperature)`, fitted on films held out of training.

    `prevalence` is the share of pneumonia among them: the probabilities are meant for that share. None where a
    user's own model came without films, and its temperature is 1.
    """

    temperature: Annotated[float, Field(gt=0)]
    prevalence: Share | None = None
    expected_calibration_error: float | None = None
    brier_score: float | None = None
    uncalibrated_error: float | None = None
    """Expected calibration error of the network's own logits, before temperature and bias."""
    uncalibrated_brier_score: float | None = None


class UncertaintyBand(Part):
    """Probabilities from `low` to `high` ask for a second look.

    Class-conditional split conformal prediction at `coverage`: outside the band one label alone is plausible;
    inside it both are, or neither.
    """

    low: Share
    high: Share
    coverage: Share
    share_of_films: Share
    """Share of the held-out films that lie inside."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError("the uncertainty band's low end lies above its high end")
        return self


class Novelty(Part):
    """Films whose `novelty` output exceeds `limit` are unlike the training films.

    `share_of_films`: share of the ordinary held-out films beyond it.
    """

    limit: float
    share_of_films: Share
    method: str


class ExposureLimits(Part):
    """Grey-level statistics (see `app.imaging.Exposure`) within which films were trained on."""

    brightness_low: float
    brightness_high: float
    contrast_low: float


class Evaluation(Part):
    """Figures on one set of films at the manifest's threshold."""

    films: int
    normal: int
    pneumonia: int
    patients: int
    accuracy: Estimate
    sensitivity: Estimate
    specificity: Estimate
    precision: Estimate
    f1: Estimate
    auc: Estimate
    average_precision: Estimate
    true_negatives: int
    false_positives: int
    false_negatives: int
    true_positives: int
    slices: dict[str, Estimate] = {}
    """Films judged by themselves: `sensitivity_…` of a slice of pneumonia films, `specificity_…` of normal ones,
    `auc_hard_normal` (pneumonia against hard normal films), `auc_against_style` (the hard films of both)."""


class Distribution(Part):
    """How a signal is spread over films: `shares[i]` of them lie at or below `edges[i]`."""

    edges: Annotated[tuple[float, ...], Field(min_length=1)]
    shares: tuple[Share, ...]

    @model_validator(mode="after")
    def _cumulative(self) -> Self:
        if len(self.edges) != len(self.shares):
            raise ValueError("a distribution needs one share for each edge")
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("a distribution's edges must rise")
        if any(low > high for low, high in pairwise(self.shares)):
            raise ValueError("a distribution's cumulative shares must not fall")
        return self


class Reference(Part):
    """What this file says of films that nothing is wrong with; drift is measured against it.

    `source`: which films, in words. `probability`, `novelty` (None where the model does not tell it) and
    `brightness` (mean grey level, 0 to 255) are spread as here. `review_share`: share of the films for which
    the service asks a person to look.
    """

    source: Annotated[str, Field(min_length=1, max_length=500)]
    measured: datetime
    films: Annotated[int, Field(ge=1)]
    review_share: Share
    probability: Distribution
    novelty: Distribution | None = None
    brightness: Distribution


class Data(Part):
    """Where the films are from."""

    name: str
    source: str
    licence: str
    films: int
    films_sha256: str
    """SHA-256 over the sorted list of the training films' digests and labels."""


class Training(Part):
    """How the weights came to be."""

    command: str
    data: Data | None = None
    folds: int | None = None
    held_out_fold: int | None = None
    seed: int | None = None
    libraries: dict[str, str] = {}


class Manifest(Part):
    """Everything about a model file that is not a weight."""

    schema_version: Literal[1] = 1
    name: str
    version: str
    created: datetime
    architecture: str
    precision: Literal["float32", "float16", "int8"]
    labels: tuple[Literal["NORMAL"], Literal["PNEUMONIA"]] = ("NORMAL", "PNEUMONIA")
    input_size: Annotated[int, Field(ge=16, le=1024)]
    threshold: Threshold
    calibration: Calibration
    uncertainty: UncertaintyBand | None = None
    novelty: Novelty | None = None
    exposure: ExposureLimits | None = None
    evaluation: dict[str, Evaluation] = {}
    """By split: `held_out_fold`, and `held_out_fold_restyled` and `…_reframed`, the same films in the style and in
    the shape of the other class (`training.restyle`)."""
    reference: Reference | None = None
    """None in files older than it, and where no films were given: then no drift is told."""
    training: Training
    licence: str
    intended_use: str
