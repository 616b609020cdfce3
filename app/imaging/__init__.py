"""From the bytes of an upload to a `Radiograph`, the same for training and for serving."""

from app.imaging.errors import (
    ImagingError,
    TooManyPixels,
    UnreadableImage,
    UnsuitableFilm,
    UnsupportedImage,
)
from app.imaging.radiograph import Doubt, Exposure, Radiograph, measure_exposure
from app.imaging.upload import prepare, read, read_upright

__all__ = [
    "Doubt",
    "Exposure",
    "ImagingError",
    "Radiograph",
    "TooManyPixels",
    "UnreadableImage",
    "UnsuitableFilm",
    "UnsupportedImage",
    "measure_exposure",
    "prepare",
    "read",
    "read_upright",
]
