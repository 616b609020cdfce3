"""JPEG and PNG uploads → `Radiograph`.

One decoder serves training and serving, so that the model sees the same pixels in both.
"""

import io
import warnings
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.imaging.errors import TooManyPixels, UnreadableImage, UnsupportedImage
from app.imaging.radiograph import Radiograph, measure_exposure

MAX_PIXELS = 64_000_000
DRAFT_FACTOR = 2
"""A JPEG is decoded at the smallest of libjpeg's scales (1, 1/2, 1/4, 1/8) that still leaves this many
times the target size on both sides; the one resize that follows then hides the difference."""

_JPEG_SIGNATURE = b"\xff\xd8\xff"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EXIF_ORIENTATION = 0x0112
_DETECTOR_BITS = (8, 10, 12, 14, 16)
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
            bits a sample. EXIF orientation is applied.
        size: side of the square in pixels.
        max_pixels: refuse files whose header claims more pixels than this, before decoding them.

    Raises:
        UnreadableImage: the bytes are empty, cut short or corrupt.
        UnsupportedImage: not JPEG or PNG, or an animated PNG.
        TooManyPixels: width × height exceeds `max_pixels`.
    """
    kind = _kind(data)
    with warnings.catch_warnings():
        # Our own limit is checked below, and Pillow warns of damaged metadata that is not needed.
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=[kind]) as image:
                return _read_opened(image, kind, size, max_pixels)
        except Image.DecompressionBombError as error:
            raise TooManyPixels(f"The image has more than {max_pixels:,} pixels.") from error
        except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError) as error:
            if isinstance(error, (UnreadableImage, UnsupportedImage, TooManyPixels)):
                raise
            raise UnreadableImage(f"The {kind} file is damaged or cut short.") from error


def _kind(data: bytes) -> Literal["JPEG", "PNG"]:
    if not data:
        raise UnreadableImage("The file is empty.")
    if data.startswith(_JPEG_SIGNATURE):
        return "JPEG"
    if data.startswith(_PNG_SIGNATURE):
        return "PNG"
    raise UnsupportedImage("The file is neither JPEG nor PNG.")


def _read_opened(
    image: Image.Image, kind: Literal["JPEG", "PNG"], size: int, max_pixels: int
) -> Radiograph:
    width, height = image.size
    if width * height > max_pixels:
        raise TooManyPixels(f"The image has {width:,} × {height:,} pixels; at most {max_pixels:,} are read.")
    if kind == "PNG" and getattr(image, "n_frames", 1) > 1:
        raise UnsupportedImage("The file is an animated PNG, not a single film.")
    orientation = _orientation(image)
    if kind == "JPEG":
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
        format=kind,
        bits=bits,
        exposure=measure_exposure(pixels),
    )


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - a damaged EXIF block raises whatever its bytes provoke; the film is good
        return 1
    return value if isinstance(value, int) else 1


def _greyscale(image: Image.Image) -> tuple[Image.Image, int]:
    """The picture as 'L', or as 'F' with its significant bits where a sample has 16."""
    if image.mode.startswith("I"):
        samples = np.asarray(image, dtype=np.float32)
        peak = int(samples.max())
        # Detectors of 10 to 14 bits often store their samples unscaled in 16.
        bits = next(bits for bits in _DETECTOR_BITS if peak < 2**bits or bits == 16)
        return Image.fromarray(samples), bits
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA"):
        opaque = Image.new("RGBA", image.size, "black")
        opaque.alpha_composite(image.convert("RGBA"))
        return opaque.convert("L"), 8
    return image.convert("L"), 8


def _as_uint8(square: Image.Image, bits: int) -> npt.NDArray[np.uint8]:
    samples = np.asarray(square)
    if samples.dtype == np.uint8:
        return samples
    return np.clip(np.rint(samples * (255.0 / (2**bits - 1))), 0, 255).astype(np.uint8)
