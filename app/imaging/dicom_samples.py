"""The samples of a DICOM film as they are stored, out of any transfer syntax that is read.

One decoder for each compression, so that a film always gets the same samples. Before any of them sees a compressed
frame, its own header must claim what the data set does: else a small film could unpack into a giant.
"""

import importlib.util
import io
import struct
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_fragments, parse_basic_offsets
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from app.imaging import charls, lossless_jpeg
from app.imaging.errors import TooManyPixels, UnsuitableFilm, UnsupportedImage

Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

ATTRIBUTES = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)
"""What is looked at here."""

_NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
_DECODERS = {
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "pillow",
    JPEG2000Lossless: "pillow",
    JPEG2000: "pillow",
}
_LOSSLESS_JPEG = (JPEGLossless, JPEGLosslessSV1)
_JPEG_LS = (JPEGLSLossless, JPEGLSNearLossless)
SYNTAXES = (*_NATIVE, RLELossless, *_LOSSLESS_JPEG, *_JPEG_LS, *_DECODERS)
"""Transfer syntaxes that are read."""

_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_RLE_HEADER = struct.Struct("<16L")
_START_OF_IMAGE = b"\xff\xd8"
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_JPEG_LS_FRAMES = frozenset({0xF7})
"""Markers before the size of a frame."""
_JPEG_SEGMENTS = frozenset({0xC4, 0xCC, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE})
"""Markers of all else that may stand before the first scan: tables, restarts, applications' own and comments."""
_JPEG_LS_PARAMETERS = 0xF8
_JPEG_SCAN = 0xDA
_JPEG_2000_START = b"\xff\x4f\xff\x51"


@dataclass(frozen=True, slots=True)
class Layout:
    """How samples are stored: PS3.3 C.7.6.3, by the same names."""

    rows: int
    columns: int
    samples: int
    photometric: str
    planar: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool


def layout_of(dataset: Dataset, max_pixels: int) -> Layout:
    """How the film of `dataset` is stored.

    Raises:
        TooManyPixels: Rows × Columns exceeds `max_pixels`.
        UnsuitableFilm: neither grey of 8 to 16 bits nor colour of 8.
        ValueError: it contradicts itself.
    """
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows * columns > max_pixels:
        raise TooManyPixels(f"The image has {columns:,} × {rows:,} pixels; at most {max_pixels:,} are read.")
    allocated = int(dataset.BitsAllocated)
    stored = int(dataset.get("BitsStored") or allocated)
    high_bit = dataset.get("HighBit")
    layout = Layout(
        rows=rows,
        columns=columns,
        samples=int(dataset.get("SamplesPerPixel") or 1),
        photometric=str(dataset.PhotometricInterpretation),
        planar=int(dataset.get("PlanarConfiguration") or 0),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1 if high_bit is None else int(high_bit),
        signed=int(dataset.get("PixelRepresentation") or 0) == 1,
    )
    grey = layout.samples == 1 and layout.photometric in _GREY and allocated in (8, 16)
    colour = layout.samples == 3 and layout.photometric in _COLOUR and (allocated, stored) == (8, 8)
    if not (grey or colour):
        raise UnsuitableFilm(
            "The DICOM object's pixels (PhotometricInterpretation, SamplesPerPixel, BitsAllocated) are neither "
            "grey of 8 or 16 bits nor colour of 8."
        )
    if not (rows and columns and 0 < stored <= layout.high_bit + 1 <= allocated):
        raise ValueError("Rows, Columns, BitsStored or HighBit is impossible.")
    return layout


def decoded(pixel_data: DataElement, layout: Layout, syntax: UID) -> tuple[Samples, str]:
    """The film's samples as bit patterns, and how their colours are meant.

    Args:
        pixel_data: PixelData.
        layout: how it is stored.
        syntax: one of `SYNTAXES`.

    Returns:
        uint8 or uint16, [rows, columns], or uint8, [rows, columns, 3]; and the PhotometricInterpretation of these
        samples, which a decoder may have changed.

    Raises:
        UnsupportedImage: this compression is not read here.
        Exception: `pixel_data` is damaged, each decoder has its own.
    """
    if syntax in _NATIVE:
        return _as_patterns(*_by_pydicom(pixel_data.value, layout, syntax, pixel_vr=str(pixel_data.VR)))
    frame = _only_frame(pixel_data.value)
    if syntax == RLELossless:
        return _run_lengths_decoded(frame, layout), layout.photometric
    if syntax == JPEGExtended12Bit and layout.bits_stored != 8:
        raise unsupported_compression()
    if syntax in (JPEG2000Lossless, JPEG2000):
        frame = frame[frame.index(_JPEG_2000_START) :]  # some writers wrap it into a JP2 file
        claimed = _size_in_jpeg_2000(frame)
    else:
        claimed = _size_in_jpeg(frame, _JPEG_LS_FRAMES if syntax in _JPEG_LS else _JPEG_FRAMES)
    if claimed != (layout.rows, layout.columns, layout.samples):
        raise ValueError("The compressed frame is of another size than its header says.")
    if syntax in _LOSSLESS_JPEG:
        return _lossless_jpeg_decoded(frame, layout), layout.photometric
    if syntax in _JPEG_LS:
        return _jpeg_ls_decoded(frame, layout), layout.photometric
    with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as opened:  # no sample is decoded yet
        if opened.size != (layout.columns, layout.rows):
            raise ValueError("Pillow sees the compressed frame at another size than its header says.")
    return _as_patterns(*_by_pydicom(encapsulate([frame]), layout, syntax, _DECODERS[syntax]))


def unsupported_compression() -> UnsupportedImage:
    """The refusal of pixels that no decoder here unpacks."""
    return UnsupportedImage(
        "The DICOM file's pixels are compressed in a way (TransferSyntaxUID) that is not read here."
    )


def _by_pydicom(
    source: bytes, layout: Layout, syntax: UID, plugin: str = "", *, pixel_vr: str = "OB"
) -> tuple[npt.NDArray[Any], dict[str, str | int]]:
    decoder = get_decoder(syntax)
    if plugin and plugin not in decoder.available_plugins:
        raise unsupported_compression()
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": layout.samples,
        "photometric_interpretation": layout.photometric,
        "planar_configuration": layout.planar,
        "bits_allocated": layout.bits_allocated,
        "bits_stored": layout.bits_stored,
        "pixel_representation": int(layout.signed),
        "pixel_keyword": "PixelData",
        "pixel_vr": pixel_vr,
    }
    if not plugin:
        options |= {"view_only": True, "correct_unused_bits": False}
    return decoder.as_array(source, index=0, raw=True, decoding_plugin=plugin, **options)


def _as_patterns(samples: npt.NDArray[Any], properties: dict[str, str | int]) -> tuple[Samples, str]:
    native = np.ascontiguousarray(samples, samples.dtype.newbyteorder("="))
    patterns = cast("Samples", native.view(np.uint8 if native.itemsize == 1 else np.uint16))
    return patterns, str(properties["photometric_interpretation"])


def _only_frame(pixel_data: bytes) -> bytes:
    """All fragments together: of one film they are one frame, whatever the table of offsets says."""
    stream = io.BytesIO(pixel_data)
    parse_basic_offsets(stream)
    return b"".join(generate_fragments(stream))


def _run_lengths_decoded(frame: bytes, layout: Layout) -> Samples:
    """Samples out of DICOM's RLE (PS3.5 G). Its segments are PackBits, which Pillow unpacks to a given size."""
    count, *offsets = _RLE_HEADER.unpack_from(frame)
    sample_bytes = layout.bits_allocated // 8
    if count != layout.samples * sample_bytes:
        raise ValueError("The number of RLE segments does not fit the pixels.")
    starts = offsets[:count]
    planes = []
    for start, end in zip(starts, [*starts[1:], len(frame)], strict=True):
        row = Image.frombytes("L", (layout.rows * layout.columns, 1), frame[start:end], "packbits", "L")
        planes.append(np.asarray(row).reshape(layout.rows, layout.columns))
    if layout.samples > 1:
        return np.stack(planes, axis=-1)
    if sample_bytes == 1:
        return planes[0]
    high, low = planes
    words: Samples = (high.astype(np.uint16) << 8) | low
    return words


def _lossless_jpeg_decoded(frame: bytes, layout: Layout) -> Samples:
    try:
        samples = lossless_jpeg.decode(frame, size=(layout.rows, layout.columns))
    except lossless_jpeg.NotDecoded:
        raise unsupported_compression() from None
    return samples if layout.bits_allocated == 16 else samples.astype(np.uint8)


def _jpeg_ls_decoded(frame: bytes, layout: Layout) -> Samples:
    if importlib.util.find_spec("jpeg_ls") is None:
        raise unsupported_compression()
    interleaving, decoded = charls.decode(frame)
    shape = (layout.rows, layout.columns)
    kind = np.uint8 if len(decoded) == layout.rows * layout.columns * layout.samples else np.dtype("<u2")
    samples = np.frombuffer(decoded, kind).astype(f"u{layout.bits_allocated // 8}", copy=False)
    if layout.samples == 1:
        return samples.reshape(shape)
    by_plane = samples.reshape(layout.samples, *shape).transpose(1, 2, 0)
    return by_plane if interleaving == 0 else samples.reshape(*shape, layout.samples)


def _size_in_jpeg(frame: bytes, markers: frozenset[int]) -> tuple[int, int, int]:
    """Rows, columns and samples that a JPEG or JPEG-LS frame claims.

    Decoders differ in what they make of markers that do not belong before the first scan, so that one could see
    another size than is read here. Such a frame counts as damaged, as does one that claims two sizes.
    """
    if frame[:2] != _START_OF_IMAGE:
        raise ValueError("The frame does not begin as a JPEG does.")
    claimed: list[tuple[int, int, int]] = []
    at = 2
    while True:
        if frame[at] != 0xFF:
            raise ValueError("A marker is missing.")
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        (length,) = struct.unpack_from(">H", frame, at + 2)
        if marker in markers:
            claimed.append(struct.unpack_from(">HHB", frame, at + 5))
        elif marker == _JPEG_SCAN:
            break
        elif marker not in _JPEG_SEGMENTS and not (
            marker == _JPEG_LS_PARAMETERS and markers is _JPEG_LS_FRAMES
        ):
            raise ValueError("A marker is out of place.")
        if length < 2:
            raise ValueError("A segment is shorter than its own length.")
        at += 2 + length
    if len(claimed) != 1:
        raise ValueError("The frame claims no size, or several.")
    return claimed[0]


def _size_in_jpeg_2000(frame: bytes) -> tuple[int, int, int]:
    """Rows, columns and samples that a JPEG 2000 codestream claims."""
    right, bottom, left, top = struct.unpack_from(">4L", frame, 8)
    (samples,) = struct.unpack_from(">H", frame, 40)
    return bottom - top, right - left, samples
