"""What the engine says of one film, and when a person should look again."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from app.engine.manifest import Manifest
from app.imaging import Doubt, Exposure

Label = Literal["NORMAL", "PNEUMONIA"]
ReasonCode = Literal["novel", "uncertain", "exposure", "age", "view"]


_WORDS_OF_DOUBT: dict[Doubt, str] = {
    "age": "The file says that the patient is not of one to five years; the model was trained on films "
    "of children of that age.",
    "view": "The file says that the view is not frontal (PA or AP); the model was trained on frontal films.",
}


class Reason(NamedTuple):
    """Why a person should look: a stable code, and words for the reader."""

    code: ReasonCode
    words: str


@dataclass(frozen=True, slots=True)
class Subtypes:
    """Probabilities of the two kinds of pneumonia; with that of a normal film they sum to 1."""

    bacterial: float
    viral: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What the model says of one film.

    `probability` of pneumonia, 0 to 1, rounded to six places; `label` is PNEUMONIA from `threshold` on.
    `heatmap`: float32, [h, w]: evidence for pneumonia per region of the upright film; its mean is the
    pneumonia logit. `novelty`: how unlike the training films this one is. Both, and `subtypes`, are None
    where the model does not have them.
    """

    probability: float
    label: Label
    threshold: float
    threshold_overridden: bool
    subtypes: Subtypes | None
    heatmap: npt.NDArray[np.float32] | None
    novelty: float | None
    review: bool
    reasons: tuple[Reason, ...]


def label_for(probability: float, threshold: float) -> Label:
    """The label of a probability: the one place where the threshold is applied."""
    return "PNEUMONIA" if probability >= threshold else "NORMAL"


def review_reasons(
    probability: float,
    novelty: float | None,
    exposure: Exposure,
    manifest: Manifest,
    doubts: Iterable[Doubt] = (),
) -> tuple[Reason, ...]:
    """Why a person should look again at a film, by the manifest's limits and by what its file says of it.

    Empty if nothing asks for it.
    """
    reasons: list[Reason] = []
    if manifest.novelty is not None and novelty is not None and novelty > manifest.novelty.limit:
        reasons.append(
            Reason(
                "novel",
                "This picture is unlike the films that the model was trained on; it may not be a "
                "frontal chest film of a child.",
            )
        )
    band = manifest.uncertainty
    if band is not None and band.low <= probability <= band.high:
        reasons.append(
            Reason(
                "uncertain",
                f"The probability lies between {band.low:.2f} and {band.high:.2f}, where the model "
                "cannot tell the labels apart reliably.",
            )
        )
    if (fault := _exposure_fault(exposure, manifest)) is not None:
        reasons.append(
            Reason("exposure", f"The film is {fault} than the films that the model was trained on.")
        )
    reasons += [Reason(doubt, _WORDS_OF_DOUBT[doubt]) for doubt in doubts]
    return tuple(reasons)


def _exposure_fault(exposure: Exposure, manifest: Manifest) -> str | None:
    limits = manifest.exposure
    if limits is None:
        return None
    if exposure.brightness < limits.brightness_low:
        return "darker"
    if exposure.brightness > limits.brightness_high:
        return "brighter"
    if exposure.contrast < limits.contrast_low:
        return "lower in contrast"
    return None
