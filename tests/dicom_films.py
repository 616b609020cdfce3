"""Synthetic chest films as DICOM files: any bit depth, photometric interpretation, LUT, window and compression."""

import copy
import io
import struct
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_fragments, parse_basic_offsets
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

Samples = npt.NDArray[Any]

NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
LOSSLESS = (
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.RLELossless,
)
LOSSY_8_BIT = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEG2000)


def film(
    samples: Samples,
    *,
    bits: int | None = None,
    photometric: str = "MONOCHROME2",
    kind: UID = uid.DigitalXRayImageStorageForPresentation,
    **attributes: Any,
) -> Dataset:
    """A film's data set, its pixels not compressed.

    Args:
        samples: signed or unsigned of 8 or 16 bits, [height, width], or uint8, [height, width, 3].
        bits: bits stored; by default all that a sample has.
        photometric: how they are meant.
        kind: the SOP class.
        attributes: further attributes by keyword, or None for one to be left out.
    """
    dataset = Dataset()
    dataset.SOPClassUID = kind
    dataset.SOPInstanceUID = uid.generate_uid(entropy_srcs=["a film"])
    dataset.StudyInstanceUID = uid.generate_uid(entropy_srcs=["a study"])
    dataset.SeriesInstanceUID = uid.generate_uid(entropy_srcs=["a series"])
    dataset.Modality = "DX"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "PA"
    dataset.PatientAge = "003Y"
    dataset.Rows, dataset.Columns = samples.shape[:2]
    dataset.SamplesPerPixel = 1 if samples.ndim == 2 else samples.shape[2]
    if samples.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = 8 * samples.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(samples.dtype.kind == "i")
    dataset.PixelData = samples.tobytes() + bytes(samples.nbytes % 2)
    dataset["PixelData"].VR = "OW" if samples.itemsize == 2 else "OB"
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def lut(
    entries: npt.ArrayLike, *, first: int = 0, bits: int = 16, vr: Literal["US", "OW"] = "US"
) -> list[Dataset]:
    """A sequence with one LUT."""
    item = Dataset()
    words = np.asarray(entries)
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(words) % 2**16, first, bits])
    value = words.tolist() if vr == "US" else words.astype(np.uint16).tobytes()
    item.add_new("LUTData", vr, value)
    return [item]


def encoded(dataset: Dataset, syntax: UID = uid.ExplicitVRLittleEndian) -> bytes:
    """The data set as a DICOM file, with its pixels compressed where `syntax` says so."""
    stored = copy.deepcopy(dataset)
    if syntax.is_encapsulated:
        stored.PixelData = encapsulate([_compressed(stored, syntax)])
        stored["PixelData"].VR = "OB"
        stored["PixelData"].is_undefined_length = True
        if syntax in LOSSY_8_BIT and stored.SamplesPerPixel == 3:
            stored.PhotometricInterpretation = "YBR_ICT" if syntax == uid.JPEG2000 else "YBR_FULL_422"
    elif syntax == uid.ExplicitVRBigEndian:
        _swap(stored)
    stored.file_meta = FileMetaDataset()
    stored.file_meta.TransferSyntaxUID = syntax
    stored.file_meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    stored.file_meta.MediaStorageSOPInstanceUID = stored.SOPInstanceUID
    buffer = io.BytesIO()
    dcmwrite(buffer, stored, enforce_file_format=True)
    return buffer.getvalue()


def _swap(dataset: Dataset) -> None:
    """Words in the other byte order, which pydicom leaves to its user."""
    for element in dataset.iterall():
        if element.VR == "OW":
            element.value = np.frombuffer(element.value, np.uint16).byteswap().tobytes()


def _compressed(dataset: Dataset, syntax: UID) -> bytes:
    shape = (dataset.Rows, dataset.Columns)
    count = dataset.SamplesPerPixel
    kind = f"{'ui'[dataset.PixelRepresentation]}{dataset.BitsAllocated // 8}"
    samples = np.frombuffer(dataset.PixelData, kind, shape[0] * shape[1] * count)
    samples = samples.reshape(shape if count == 1 else (*shape, count))
    if syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit):
        return _by_pillow(samples, "JPEG", quality=95)
    if syntax in (uid.JPEG2000, uid.JPEG2000Lossless):
        return _by_pillow(samples, "JPEG2000", irreversible=syntax == uid.JPEG2000, no_jp2=True)
    if syntax in (uid.JPEGLossless, uid.JPEGLosslessSV1):
        return lossless_jpeg(samples, dataset.BitsStored)
    compressed = copy.deepcopy(dataset)
    compressed.compress(syntax, samples, generate_instance_uid=False)
    stream = io.BytesIO(compressed.PixelData)
    parse_basic_offsets(stream)
    return b"".join(generate_fragments(stream))


def _by_pillow(samples: Samples, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, name, **options)
    return buffer.getvalue()


def lossless_jpeg(
    samples: Samples, bits: int, *, predictor: int = 1, point_transform: int = 0, restarts: int = 0
) -> bytes:
    """Samples of up to 16 bits, [height, width], as lossless JPEG (ITU-T T.81, annex H), to the letter.

    Every category of differences has a code of five bits.
    """
    height, width = samples.shape
    values = ((samples.astype(np.int64) & (2**bits - 1)) >> point_transform).tolist()
    code: list[str] = []
    for y in range(height):
        for x in range(width):
            left, above = values[y][x - 1], values[y - 1][x]
            if (x, y) == (0, 0):
                guess = 2 ** (bits - point_transform - 1)
            elif y == 0 or x == 0:
                guess = left if y == 0 else above
            else:
                guess = _guess(predictor, left, above, values[y - 1][x - 1])
            difference = (values[y][x] - guess + 2**15) % 2**16 - 2**15
            category = abs(difference).bit_length()
            code.append(f"{category:05b}")
            if 0 < category < 16:
                extra = difference if difference > 0 else difference + 2**category - 1
                code.append(f"{extra:0{category}b}")
    bitstream = "".join(code)
    bitstream += "1" * (-len(bitstream) % 8)
    scan = bytes(int(bitstream[at : at + 8], 2) for at in range(0, len(bitstream), 8))
    counts = bytes([0, 0, 0, 0, 17, *[0] * 11])
    return b"".join(
        (
            b"\xff\xd8",
            b"\xff\xc3" + struct.pack(">HBHHB3B", 11, bits, height, width, 1, 1, 0x11, 0),
            b"\xff\xc4" + struct.pack(">HB", 2 + 1 + 16 + 17, 0) + counts + bytes(range(17)),
            b"\xff\xdd" + struct.pack(">HH", 4, restarts),
            b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, predictor, 0, point_transform),
            scan.replace(b"\xff", b"\xff\0"),
            b"\xff\xd9",
        )
    )


def _guess(predictor: int, left: int, above: int, diagonal: int) -> int:
    """Table H.1."""
    return {
        1: left,
        2: above,
        3: diagonal,
        4: left + above - diagonal,
        5: left + ((above - diagonal) >> 1),
        6: above + ((left - diagonal) >> 1),
        7: (left + above) >> 1,
    }[predictor]
