"""From the bytes of an upload to a `Radiograph`, the same for training and for serving."""

from app.imaging.errors import (
    ImagingError,
    TooManyPixels,
    UnreadableImage,
    UnsupportedImage,
)
from app.imaging.radiograph import Exposure, Radiograph, measure_exposure
from app.imaging.raster import read, read_upright

__all__ = [
    "Exposure",
    "ImagingError",
    "Radiograph",
    "TooManyPixels",
    "UnreadableImage",
    "UnsupportedImage",
    "measure_exposure",
    "read",
    "read_upright",
]
