"""JPEG and PNG uploads → `Radiograph`.

One decoder serves training and serving, so that the model sees the same pixels in both.
"""

import io
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, JpegImagePlugin, MpoImagePlugin, PngImagePlugin

from app.imaging.errors import ImagingError, TooManyPixels, UnreadableImage, UnsupportedImage
from app.imaging.radiograph import MAX_PIXELS, Radiograph, measure_exposure

# Named so that Pillow registers them here and now, not during the first upload.
_PLUGINS = (JpegImagePlugin, MpoImagePlugin, PngImagePlugin)

DRAFT_FACTOR = 2
"""A JPEG is decoded at the smallest of libjpeg's scales (1, 1/2, 1/4, 1/8) that still leaves this many
times the target size on both sides; the one resize that follows then hides the difference."""

_JPEG_SIGNATURE = b"\xff\xd8\xff"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EXIF_ORIENTATION = 0x0112
_DETECTOR_BITS = (8, 10, 12, 14, 16)
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    struct.error,
    zlib.error,
)
"""What Pillow is known to raise on damaged files."""

# Pillow warns of damaged metadata, which is not needed here, and of many pixels, for which there is a limit.
# Set once: `warnings.catch_warnings` is not safe where several threads decode.
warnings.filterwarnings("ignore", module=r"PIL\.")

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read(data: bytes, *, size: int, max_pixels: int = MAX_PIXELS) -> Radiograph:
    """Decode an upload to the model's square.

    Args:
        data: the whole file, JPEG or PNG; greyscale, colour, CMYK, palette, with or without alpha, 8 or 16
            bits a sample. EXIF orientation is applied, and what is transparent is black.
        size: side of the square in pixels.
        max_pixels: refuse files whose header claims more pixels than this, before decoding them.

    Raises:
        UnreadableImage: the bytes are empty, cut short or corrupt.
        UnsupportedImage: not JPEG or PNG, or an animated PNG.
        TooManyPixels: width × height exceeds `max_pixels`.
    """
    with _opened(data, max_pixels) as image:
        width, height = image.size
        orientation = _orientation(image)
        if image.format != "PNG":
            image.draft("L", (DRAFT_FACTOR * size, DRAFT_FACTOR * size))
        grey, bits = _greyscale(image)
        square = grey.resize((size, size), Image.Resampling.BILINEAR)
        if orientation in _UPRIGHT:
            # On the square, turning after squashing gives what turning before it would, for less.
            square = square.transpose(_UPRIGHT[orientation])
            if orientation >= 5:
                width, height = height, width
        pixels = _as_uint8(square, bits)
        return Radiograph(
            pixels=pixels,
            width=width,
            height=height,
            format="PNG" if image.format == "PNG" else "JPEG",
            bits=bits,
            exposure=measure_exposure(pixels),
        )


def read_upright(data: bytes, *, max_pixels: int = MAX_PIXELS, shrink_to: int = MAX_PIXELS) -> Image.Image:
    """Decode an upload at its own size, upright, as an 'L' picture for the eye.

    Args:
        data: as for `read`.
        max_pixels: as for `read`.
        shrink_to: a film with more pixels than this is shrunk to about as many.

    Raises:
        ImagingError: as `read` does.
    """
    with _opened(data, max_pixels) as image:
        orientation = _orientation(image)
        scale = min(1.0, math.sqrt(shrink_to / (image.width * image.height)))
        size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
        if image.format != "PNG":
            image.draft("L", size)
        grey, bits = _greyscale(image)
        if grey.size != size:
            grey = grey.resize(size, Image.Resampling.BILINEAR)
        if orientation in _UPRIGHT:
            grey = grey.transpose(_UPRIGHT[orientation])
        return grey if grey.mode == "L" else Image.fromarray(_as_uint8(grey, bits))


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """The picture in `data`, its header checked; whatever decoding it raises becomes an `ImagingError`."""
    kind = _kind(data)
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise TooManyPixels(
                    f"The image has {width:,} × {height:,} pixels; at most {max_pixels:,} are read."
                )
            if kind == "PNG" and getattr(image, "n_frames", 1) > 1:
                raise UnsupportedImage("The file is an animated PNG, not a single film.")
            yield image
    except ImagingError:
        raise
    except Image.DecompressionBombError as error:
        raise TooManyPixels(f"The image has more than {max_pixels:,} pixels.") from error
    except _DAMAGE as error:
        raise UnreadableImage(f"The {kind} file is damaged or cut short.") from error


def _kind(data: bytes) -> Literal["JPEG", "PNG"]:
    if not data:
        raise UnreadableImage("The file is empty.")
    if data.startswith(_JPEG_SIGNATURE):
        return "JPEG"
    if data.startswith(_PNG_SIGNATURE):
        return "PNG"
    raise UnsupportedImage("The file is neither JPEG, PNG nor DICOM.")


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - a damaged EXIF block raises whatever its bytes provoke; the film is good
        return 1
    return value if isinstance(value, int) else 1


def _greyscale(image: Image.Image) -> tuple[Image.Image, int]:
    """The picture as 'L' with 8 bits, or as it is with its significant bits where a sample has 16."""
    if image.mode.startswith("I"):
        _, peak = image.getextrema()
        # Detectors of 10 to 14 bits often store their samples unscaled in 16.
        return image, next(bits for bits in _DETECTOR_BITS if peak < 2**bits or bits == 16)
    if image.mode in ("P", "PA") and image.has_transparency_data:
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA"):
        # The same as laying it over black, without a second picture in colour.
        return ImageChops.multiply(image.convert("L"), image.getchannel("A")), 8
    if image.mode == "L":
        image.load()
        return image, 8  # a conversion would copy it
    return image.convert("L"), 8


def _as_uint8(picture: Image.Image, bits: int) -> npt.NDArray[np.uint8]:
    samples = np.asarray(picture)
    if samples.dtype == np.uint8:
        return samples
    scaled = samples.astype(np.float32)
    scaled *= 255.0 / (2**bits - 1)
    return np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled).astype(np.uint8)
