"""DICOM uploads → `Radiograph`: one film of computed or digital radiography, or a secondary capture of one.

Of the header only the attributes that reading a film takes are parsed. What they say of the patient ends here: no
value is kept, logged or quoted in an error, and pydicom, whose messages do quote them, is kept silent.
"""

import io
import logging
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from app.imaging import dicom_levels, dicom_samples, dicom_suitability
from app.imaging.errors import ImagingError, TooManyPixels, UnreadableImage
from app.imaging.radiograph import MAX_PIXELS, Radiograph, measure_exposure

_PREAMBLE_AND_PREFIX = 132
_FILE_META_GROUP = 0x0002
_ATTRIBUTES = [
    int(Tag(keyword))
    for keyword in (
        *dicom_suitability.ATTRIBUTES,
        *dicom_samples.ATTRIBUTES,
        *dicom_levels.ATTRIBUTES,
    )
]
_HEADER_BYTES = 8 * 2**20
"""Room for everything but the pixels in a data set that is inflated."""
_BYTES_A_PIXEL = 3
_DAMAGE = (
    BytesLengthException,
    Image.DecompressionBombError,
    InvalidDicomError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom and the decoders that it calls are known to raise on damaged files."""

# Both quote values. Set once: `warnings.catch_warnings` is not safe where several threads decode.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module=r"pydicom\.")


def read(data: bytes, *, size: int, max_pixels: int = MAX_PIXELS) -> Radiograph:
    """Decode a DICOM file to the model's square.

    Args:
        data: the whole file, DICOM Part 10.
        size: side of the square in pixels.
        max_pixels: refuse files whose header claims more pixels than this, before decoding them.

    Raises:
        UnreadableImage: the file is cut short or corrupt.
        UnsupportedImage: its pixels are compressed in a way that is not read here.
        UnsuitableFilm: it is not a single chest film.
        TooManyPixels: Rows × Columns exceeds `max_pixels`, or memory does not suffice.
    """
    with _damage_told():
        dataset, syntax = _parsed(data, max_pixels)
        dicom_suitability.require_chest_film(dataset)
        film, bits = _film(dataset, syntax, max_pixels)
        pixels = np.asarray(film.resize((size, size), Image.Resampling.BILINEAR))
        return Radiograph(
            pixels=pixels,
            width=film.width,
            height=film.height,
            format="DICOM",
            bits=bits,
            exposure=measure_exposure(pixels),
            doubts=dicom_suitability.doubts(dataset),
        )


def read_upright(data: bytes, *, max_pixels: int = MAX_PIXELS, shrink_to: int = MAX_PIXELS) -> Image.Image:
    """Decode a DICOM file at the film's own size, as it is stored, as an 'L' picture for the eye.

    Args:
        data: as for `read`.
        max_pixels: as for `read`.
        shrink_to: a film with more pixels than this is shrunk to about as many.

    Raises:
        ImagingError: as `read` does.
    """
    with _damage_told():
        dataset, syntax = _parsed(data, max_pixels)
        dicom_suitability.require_chest_film(dataset)
        film, _ = _film(dataset, syntax, max_pixels)
        scale = min(1.0, math.sqrt(shrink_to / (film.width * film.height)))
        size = (max(1, int(film.width * scale)), max(1, int(film.height * scale)))
        return film if film.size == size else film.resize(size, Image.Resampling.BILINEAR)


@contextmanager
def _damage_told() -> Iterator[None]:
    """Whatever a damaged file provokes becomes an `ImagingError`, without its words: they quote values."""
    try:
        yield
    except ImagingError:
        raise
    except MemoryError:
        raise TooManyPixels("The DICOM film does not fit into memory.") from None
    except _DAMAGE:
        raise UnreadableImage("The DICOM file is damaged or cut short.") from None


def _parsed(data: bytes, max_pixels: int) -> tuple[Dataset, UID]:
    """The attributes that are needed here, and the transfer syntax."""
    stream = io.BytesIO(data)
    stream.seek(_PREAMBLE_AND_PREFIX)
    meta = read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=_after_file_meta)
    syntax = UID(meta.TransferSyntaxUID)
    if syntax not in dicom_samples.SYNTAXES:
        raise dicom_samples.unsupported_compression()
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = io.BytesIO(_inflated(stream.read(), _HEADER_BYTES + _BYTES_A_PIXEL * max_pixels))
    dataset = read_dataset(
        stream, syntax.is_implicit_VR, syntax.is_little_endian, specific_tags=list(_ATTRIBUTES)
    )
    return dataset, syntax


def _after_file_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag >> 16 != _FILE_META_GROUP


def _inflated(deflated: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(deflated, limit)
    if inflater.unconsumed_tail:
        raise TooManyPixels("The deflated DICOM file holds more than the largest film that is read.")
    return inflated


def _film(dataset: Dataset, syntax: UID, max_pixels: int) -> tuple[Image.Image, int]:
    """The film as an 'L' picture at its own size, and the bits of a stored sample."""
    layout = dicom_samples.layout_of(dataset, max_pixels)
    samples, photometric = dicom_samples.decoded(dataset["PixelData"], layout, syntax)
    if layout.samples == 1:
        table = dicom_levels.table(dataset, layout, samples, little_endian=syntax.is_little_endian)
        return Image.fromarray(dicom_levels.looked_up(table, samples)), layout.bits_stored
    if photometric == "RGB":
        return Image.fromarray(samples).convert("L"), layout.bits_stored
    return Image.fromarray(np.ascontiguousarray(samples[..., 0])), layout.bits_stored
