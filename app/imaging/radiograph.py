"""A decoded film and what was seen on the way."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

MAX_PIXELS = 64_000_000
"""Films with more pixels than this are refused, unless told otherwise."""

Doubt = Literal["age", "view"]
"""What a file says of its film that the model does not know: the patient's age, or a view that is not frontal."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """How a film is exposed, measured on its decoded square.

    `brightness` is the mean grey level and `contrast` the distance between the 5th and the 95th
    percentile of the grey levels; both run from 0 to 255.
    """

    brightness: float
    contrast: float


@dataclass(frozen=True, slots=True)
class Radiograph:
    """One film, ready for the model.

    `pixels`: uint8, [size, size], 0 black: greyscale, upright, squashed to the square.
    `width`, `height`: the film's own size in pixels, upright.
    `bits`: significant bits a sample in the file (8 for JPEG, up to 16 for PNG and DICOM).
    `doubts`: what DICOM says of patient and view that the model does not know.
    """

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int
    format: Literal["JPEG", "PNG", "DICOM"]
    bits: int
    exposure: Exposure
    doubts: tuple[Doubt, ...] = ()


def measure_exposure(pixels: npt.NDArray[np.uint8]) -> Exposure:
    """Brightness and contrast of `pixels` (uint8, any shape)."""
    counts = np.bincount(pixels.ravel(), minlength=256)
    cumulative = np.cumsum(counts)
    low, high = np.searchsorted(cumulative, (0.05 * cumulative[-1], 0.95 * cumulative[-1]))
    return Exposure(
        brightness=float(counts @ np.arange(256) / cumulative[-1]),
        contrast=float(high - low),
    )
