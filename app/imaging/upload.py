"""The bytes of an upload → the decoder for their kind: JPEG, PNG or DICOM."""

import importlib
from typing import Protocol, cast

from PIL import Image

from app.imaging import raster
from app.imaging.errors import UnsupportedImage
from app.imaging.radiograph import MAX_PIXELS, Radiograph

_DICOM_PREFIX = b"DICM"
_DICOM_PREAMBLE = 128


class _Decoder(Protocol):
    """What the module of a kind of file offers."""

    def read(self, data: bytes, *, size: int, max_pixels: int) -> Radiograph: ...

    def read_upright(self, data: bytes, *, max_pixels: int, shrink_to: int) -> Image.Image: ...


def read(data: bytes, *, size: int, max_pixels: int = MAX_PIXELS) -> Radiograph:
    """Decode an upload to the model's square.

    Args:
        data: the whole file: JPEG or PNG (see `app.imaging.raster`), or DICOM (see `app.imaging.dicom`).
        size: side of the square in pixels.
        max_pixels: refuse files whose header claims more pixels than this, before decoding them.

    Raises:
        UnreadableImage: the bytes are empty, cut short or corrupt.
        UnsupportedImage: another kind of file, an animated PNG, a compression that is not read here, or DICOM
            where the extra `dicom` is not installed.
        UnsuitableFilm: a DICOM object that is not a single chest film.
        TooManyPixels: width × height exceeds `max_pixels`.
    """
    return _decoder(data).read(data, size=size, max_pixels=max_pixels)


def read_upright(data: bytes, *, max_pixels: int = MAX_PIXELS, shrink_to: int = MAX_PIXELS) -> Image.Image:
    """Decode an upload at its own size, upright, as an 'L' picture for the eye.

    Args:
        data: as for `read`.
        max_pixels: as for `read`.
        shrink_to: a film with more pixels than this is shrunk to about as many.

    Raises:
        ImagingError: as `read` does.
    """
    return _decoder(data).read_upright(data, max_pixels=max_pixels, shrink_to=shrink_to)


def prepare() -> bool:
    """Load all decoders now, so that no film waits for that; False where that of DICOM is not installed."""
    Image.preinit()
    try:
        _dicom_decoder()
    except UnsupportedImage:
        return False
    return True


def _decoder(data: bytes) -> _Decoder:
    if data[_DICOM_PREAMBLE : _DICOM_PREAMBLE + len(_DICOM_PREFIX)] == _DICOM_PREFIX:
        return _dicom_decoder()
    return raster


def _dicom_decoder() -> _Decoder:
    try:
        return cast("_Decoder", importlib.import_module("app.imaging.dicom"))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pydicom":
            raise
        raise UnsupportedImage(
            "DICOM is not read by this installation of the service: install its extra 'dicom'."
        ) from error
