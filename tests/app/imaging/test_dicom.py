"""DICOM films → grey levels, and which objects are read at all."""

import io
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_fragments, parse_basic_offsets
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.uid import UID

from app import imaging
from app.imaging import dicom_samples, overlay
from tests import dicom_films, radiographs

SIZE = 16
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"


def ramp(low: int, high: int, kind: str) -> npt.NDArray[Any]:
    """All the way from `low` to `high`, [16, 16]: already of the model's size, so that no resize blurs it."""
    return np.linspace(low, high, SIZE * SIZE).astype(kind).reshape(SIZE, SIZE)


def linear(x: float, centre: float, width: float) -> float:
    """PS3.3 C.11.2.1.2.1, to the letter, from 0 to 1."""
    if x <= centre - 0.5 - (width - 1) / 2:
        return 0
    if x > centre - 0.5 + (width - 1) / 2:
        return 1
    return (x - (centre - 0.5)) / (width - 1) + 0.5


def linear_exact(x: float, centre: float, width: float) -> float:
    """PS3.3 C.11.2.1.3.2."""
    return min(1, max(0, (x - centre) / width + 0.5))


def sigmoid(x: float, centre: float, width: float) -> float:
    """PS3.3 C.11.2.1.3.1."""
    return 1 / (1 + math.exp(-4 * (x - centre) / width))


@dataclass(frozen=True)
class Case:
    """Stored values, attributes, and the share of white that each stored value becomes."""

    samples: npt.NDArray[Any]
    share: Callable[[int], float]
    bits: int | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


def case(
    samples: npt.NDArray[Any], share: Callable[[int], float], bits: int | None = None, **attributes: Any
) -> Case:
    return Case(samples, share, bits, attributes)


EIGHT = ramp(0, 255, "u1")
TWELVE = ramp(0, 4095, "u2")
SIGNED = ramp(-2048, 2047, "i2")
INVERTED = [255 - level for level in range(256)]

CASES = {
    "8 bits": case(EIGHT, lambda x: x / 255),
    "8 bits, not all in use": case(EIGHT // 2 + 20, lambda x: x / 255),
    "6 bits stored of 8": case(EIGHT // 4, lambda x: x / 63, 6),
    "8 signed bits": case(ramp(-128, 127, "i1"), lambda x: (x + 128) / 255),
    "10 bits": case(TWELVE // 4, lambda x: x / 1023, 10),
    "12 bits": case(TWELVE, lambda x: x / 4095, 12),
    "12 bits, not all in use": case(TWELVE // 2 + 100, lambda x: (x - 100) / 2047, 12),
    "14 bits": case(TWELVE * 4, lambda x: x / 16380, 14),
    "16 bits": case(ramp(0, 65535, "u2"), lambda x: x / 65535),
    "12 signed bits": case(SIGNED, lambda x: (x + 2048) / 4095, 12),
    "16 signed bits": case(ramp(-32768, 32767, "i2"), lambda x: (x + 32768) / 65535),
    "bits at the top of a word": case(TWELVE * 16, lambda x: (x >> 4) / 4095, 12, HighBit=15),
    "one level": case(np.full((SIZE, SIZE), 700, np.uint16), lambda _: 0, 12),
    "MONOCHROME1": case(TWELVE, lambda x: 1 - x / 4095, 12, photometric="MONOCHROME1"),
    "INVERSE": case(TWELVE, lambda x: 1 - x / 4095, 12, PresentationLUTShape="INVERSE"),
    "IDENTITY": case(TWELVE, lambda x: x / 4095, 12, PresentationLUTShape="IDENTITY"),
    "MONOCHROME1 is INVERSE, once": case(
        TWELVE, lambda x: 1 - x / 4095, 12, photometric="MONOCHROME1", PresentationLUTShape="INVERSE"
    ),
    "window": case(TWELVE, lambda x: linear(x, 2048, 1024), 12, WindowCenter=2048, WindowWidth=1024),
    "first of several windows": case(
        TWELVE, lambda x: linear(x, 900, 700), 12, WindowCenter=["900", "2000"], WindowWidth=["700", "4000"]
    ),
    "window of one": case(TWELVE, lambda x: float(x > 1999.5), 12, WindowCenter=2000, WindowWidth=1),
    "window of 8 bits": case(EIGHT, lambda x: linear(x, 100, 80), WindowCenter=100, WindowWidth=80),
    "window of signed": case(SIGNED, lambda x: linear(x, -300, 900), 12, WindowCenter=-300, WindowWidth=900),
    "LINEAR_EXACT": case(
        TWELVE,
        lambda x: linear_exact(x, 2048, 1024),
        12,
        WindowCenter=2048,
        WindowWidth=1024,
        VOILUTFunction="LINEAR_EXACT",
    ),
    "SIGMOID": case(
        TWELVE,
        lambda x: sigmoid(x, 2048, 1024),
        12,
        WindowCenter=2048,
        WindowWidth=1024,
        VOILUTFunction="SIGMOID",
    ),
    "impossible window": case(TWELVE, lambda x: x / 4095, 12, WindowCenter=0, WindowWidth=0),
    "window beyond all values": case(TWELVE, lambda x: x / 4095, 12, WindowCenter="1e300", WindowWidth=400),
    "window below all values": case(EIGHT, lambda x: x / 255, WindowCenter=-1000, WindowWidth=100),
    "window wider than any film": case(TWELVE, lambda x: x / 4095, 12, WindowCenter=0, WindowWidth="1e300"),
    "sigmoid beyond all values": case(
        TWELVE, lambda x: x / 4095, 12, WindowCenter="-1e300", WindowWidth=400, VOILUTFunction="SIGMOID"
    ),
    "half a window": case(TWELVE, lambda x: x / 4095, 12, WindowCenter=2000),
    "empty window": case(TWELVE, lambda x: x / 4095, 12, WindowCenter="", WindowWidth=""),
    "window, then MONOCHROME1": case(
        TWELVE,
        lambda x: 1 - linear(x, 1000, 600),
        12,
        photometric="MONOCHROME1",
        WindowCenter=1000,
        WindowWidth=600,
    ),
    "rescaled, then window": case(
        TWELVE,
        lambda x: linear(0.5 * x - 1024, -200, 300),
        12,
        RescaleSlope="0.5",
        RescaleIntercept="-1024",
        WindowCenter=-200,
        WindowWidth=300,
    ),
    "rescaled downwards": case(TWELVE, lambda x: 1 - x / 4095, 12, RescaleSlope=-1, RescaleIntercept=4095),
    "rescaled, 8 bits": case(EIGHT, lambda x: x / 255, RescaleSlope=2, RescaleIntercept=-10),
    "modality LUT": case(
        EIGHT, lambda x: (255 - x) / 255, ModalityLUTSequence=dicom_films.lut(INVERTED, bits=8)
    ),
    "modality LUT, then window": case(
        TWELVE,
        lambda x: linear(4095 - x, 1000, 500),
        12,
        ModalityLUTSequence=dicom_films.lut(range(4095, -1, -1), bits=12, vr="OW"),
        WindowCenter=1000,
        WindowWidth=500,
    ),
    "VOI LUT": case(
        TWELVE,
        lambda x: round((x / 4095) ** 2 * 1023) / 1023,
        12,
        VOILUTSequence=dicom_films.lut([round((x / 4095) ** 2 * 1023) for x in range(4096)], bits=10),
    ),
    "VOI LUT in words": case(
        TWELVE,
        lambda x: x / 4095,
        12,
        VOILUTSequence=dicom_films.lut([16 * x for x in range(4096)], bits=16, vr="OW"),
    ),
    "VOI LUT goes before a window": case(
        EIGHT,
        lambda x: (255 - x) / 255,
        VOILUTSequence=dicom_films.lut(INVERTED, bits=8),
        WindowCenter=20,
        WindowWidth=10,
    ),
    "VOI LUT from 1000 on": case(
        TWELVE,
        lambda x: min(max(x - 1000, 0), 255) / 255,
        12,
        VOILUTSequence=dicom_films.lut(range(256), first=1000, bits=8),
    ),
    "VOI LUT from -100 on": case(
        SIGNED,
        lambda x: min(max(x + 100, 0), 255) / 255,
        12,
        VOILUTSequence=dicom_films.lut(range(256), first=-100, bits=8),
    ),
    "VOI LUT after rescaling": case(
        TWELVE,
        lambda x: min(max(x - 1000, 0), 255) / 255,
        12,
        RescaleSlope=1,
        RescaleIntercept=-1000,
        VOILUTSequence=dicom_films.lut(range(256), bits=8),
    ),
    "a LUT of 65,536": case(
        ramp(0, 65535, "u2"), lambda x: x / 65535, VOILUTSequence=dicom_films.lut(range(65536), bits=16)
    ),
    "padding": case(
        np.where(TWELVE > 4000, 0, TWELVE),
        lambda x: 0 if x == 0 else (x - 16) / (3998 - 16),
        12,
        PixelPaddingValue=0,
    ),
    "padding is black where black is high": case(
        TWELVE,
        lambda x: 0 if x == 0 else 1 - linear(x, 2048, 4096),
        12,
        photometric="MONOCHROME1",
        PixelPaddingValue=0,
        WindowCenter=2048,
        WindowWidth=4096,
    ),
    "a range of padding": case(
        TWELVE,
        lambda x: 0 if x >= 3000 else linear(x, 2048, 4096),
        12,
        PixelPaddingValue=4095,
        PixelPaddingRangeLimit=3000,
        WindowCenter=2048,
        WindowWidth=4096,
    ),
    "signed padding": case(
        SIGNED,
        lambda x: 0 if x == -2048 else linear(-x, 0, 4096),
        12,
        PixelPaddingValue=-2048,
        RescaleSlope=-1,
        RescaleIntercept=0,
        WindowCenter=0,
        WindowWidth=4096,
    ),
}


def grey_levels(dataset: Dataset, syntax: UID) -> npt.NDArray[np.int64]:
    return imaging.read(dicom_films.encoded(dataset, syntax), size=SIZE).pixels.astype(int)


def dataset_of(case: Case) -> Dataset:
    return dicom_films.film(case.samples, bits=case.bits, **case.attributes)


@pytest.mark.parametrize("syntax", dicom_films.NATIVE, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("name", CASES)
def test_stored_values_become_the_grey_levels_that_the_standard_says(name: str, syntax: UID) -> None:
    case = CASES[name]
    expected = 255 * np.vectorize(lambda x: float(case.share(int(x))))(case.samples)
    levels = grey_levels(dataset_of(case), syntax)
    assert np.abs(levels - expected).max() <= 0.51
    assert np.ptp(levels) > 100 or name == "one level", "else it proves little"


def compressible() -> list[Any]:
    """Cases of each bit depth by each compression; Pillow writes no signed JPEG 2000, but a bundled file is."""
    return [
        pytest.param(name, syntax, id=f"{name}, {syntax.name}")
        for name, case in CASES.items()
        for syntax in dicom_films.LOSSLESS
        if "bits" in name and "HighBit" not in case.attributes
        if not (case.samples.dtype.kind == "i" and syntax == uid.JPEG2000Lossless)
    ]


@pytest.mark.parametrize(("name", "syntax"), compressible())
def test_lossless_compression_changes_nothing(name: str, syntax: UID) -> None:
    dataset = dataset_of(CASES[name])
    levels = grey_levels(dataset, syntax)
    assert np.array_equal(levels, grey_levels(dataset, uid.ExplicitVRLittleEndian))


@pytest.mark.parametrize("syntax", dicom_films.LOSSY_8_BIT, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_lossy_compression_changes_little(syntax: UID, colour: bool) -> None:
    film = radiographs.draw(96, 80)
    samples = np.repeat(film[..., None], 3, axis=2) if colour else film
    dataset = dicom_films.film(samples, photometric="RGB" if colour else "MONOCHROME2")
    levels = imaging.read_upright(dicom_films.encoded(dataset, syntax))
    assert np.abs(np.asarray(levels).astype(int) - film).mean() < 2.5


RED, GREEN = np.zeros((2, SIZE, SIZE, 3), np.uint8)
RED[..., 0], GREEN[..., 1] = EIGHT, EIGHT
YBR = np.stack([EIGHT, np.full_like(EIGHT, 60), np.full_like(EIGHT, 200)], axis=-1)


@pytest.mark.parametrize("syntax", [*dicom_films.NATIVE, uid.RLELossless], ids=lambda syntax: syntax.name)
@pytest.mark.parametrize(
    ("samples", "photometric", "weight"),
    [(RED, "RGB", 0.299), (GREEN, "RGB", 0.587), (YBR, "YBR_FULL", 1.0)],
    ids=["red", "green", "YBR"],
)
def test_colour_becomes_its_luminance(
    samples: npt.NDArray[np.uint8], photometric: str, weight: float, syntax: UID
) -> None:
    capture = dicom_films.film(samples, photometric=photometric, kind=uid.SecondaryCaptureImageStorage)
    expected = weight * EIGHT.astype(float)
    assert np.abs(grey_levels(capture, syntax) - expected).max() <= 1
    if syntax in dicom_films.NATIVE:
        capture.PlanarConfiguration = 1
        capture.PixelData = samples.transpose(2, 0, 1).tobytes()
        assert np.abs(grey_levels(capture, syntax) - expected).max() <= 1


numbers = st.integers(-3000, 5000)


@given(
    signed=st.booleans(),
    slope=st.sampled_from([0.25, 1, 2, -1]),
    intercept=numbers,
    centre=numbers,
    width=st.integers(2, 5000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
@settings(max_examples=60, deadline=None)
def test_windows_agree_with_pydicom(
    signed: bool, slope: float, intercept: int, centre: int, width: int, function: str
) -> None:
    dataset = dicom_films.film(
        SIGNED if signed else TWELVE,
        bits=12,
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        WindowCenter=centre,
        WindowWidth=width,
        VOILUTFunction=function,
    )
    shown = apply_voi_lut(apply_modality_lut(SIGNED if signed else TWELVE, dataset), dataset)
    ends = np.array([-2048, 2047] if signed else [0, 4095]) * slope + intercept
    expected = 255 * (shown - ends[0]) / (ends[1] - ends[0])
    assume(np.ptp(np.rint(expected)) > 0)  # else the window lies outside all values, and is none
    levels = grey_levels(dataset, uid.ExplicitVRLittleEndian)
    assert np.abs(levels - expected).max() <= 0.51


def test_a_film_in_dicom_and_in_png_is_the_same_radiograph() -> None:
    film = radiographs.draw(480, 400)
    from_png = imaging.read(radiographs.png(film), size=64)
    from_dicom = imaging.read(dicom_films.encoded(dicom_films.film(film)), size=64)
    assert np.array_equal(from_dicom.pixels, from_png.pixels)
    assert (from_dicom.width, from_dicom.height, from_dicom.bits) == (480, 400, 8)
    assert (from_dicom.format, from_dicom.exposure) == ("DICOM", from_png.exposure)


def test_the_film_for_the_eye_has_its_own_size_and_is_shrunk_above_a_limit() -> None:
    film = radiographs.draw(400, 300)
    encoded = dicom_films.encoded(dicom_films.film(film))
    assert np.array_equal(np.asarray(imaging.read_upright(encoded)), film)
    shrunk = imaging.read_upright(encoded, shrink_to=30_000)
    assert (shrunk.size, shrunk.mode) == ((200, 150), "L")


def test_a_heat_map_is_laid_over_a_dicom_film() -> None:
    film = radiographs.draw(96, 64)
    heatmap = np.full((7, 7), -3, np.float32)
    heatmap[0, 6] = 8
    from_dicom = overlay.over_film(dicom_films.encoded(dicom_films.film(film)), heatmap)
    assert from_dicom == overlay.over_film(radiographs.png(film), heatmap)


def unlike_a_chest_film() -> dict[str, Dataset]:
    frames = dicom_films.film(EIGHT, NumberOfFrames=2)
    frames.PixelData = 2 * frames.PixelData
    return {
        "CT": dicom_films.film(TWELVE, kind=uid.CTImageStorage),
        "mammogram": dicom_films.film(TWELVE, kind=uid.DigitalMammographyXRayImageStorageForPresentation),
        "report": dicom_films.film(EIGHT, kind=uid.ComprehensiveSRStorage),
        "no kind": dicom_films.film(EIGHT, SOPClassUID=None),
        "capture of a CT": dicom_films.film(EIGHT, kind=uid.SecondaryCaptureImageStorage, Modality="CT"),
        "two frames": frames,
        "hand": dicom_films.film(EIGHT, BodyPartExamined="HAND"),
        "chest and abdomen": dicom_films.film(EIGHT, BodyPartExamined="CHESTABDOMEN"),
        **{
            part: dicom_films.film(EIGHT, BodyPartExamined=part)
            for part in ("NOT CHEST", "CHEST AND ARM", "CHEST\\ABDOMEN", "CHEST LAT", "LUNGWORM", "-")
        },
        "palette": dicom_films.film(EIGHT, photometric="PALETTE COLOR"),
        "32 bits": dicom_films.film(TWELVE.astype(np.uint32)),
        "colour of 16 bits": dicom_films.film(RED.astype(np.uint16), photometric="RGB"),
    }


@pytest.mark.parametrize(("name", "dataset"), unlike_a_chest_film().items(), ids=unlike_a_chest_film())
def test_what_is_not_a_single_chest_film_is_told_so(name: str, dataset: Dataset) -> None:
    encoded = dicom_films.encoded(dataset)
    for read in (lambda: imaging.read(encoded, size=SIZE), lambda: imaging.read_upright(encoded)):
        with pytest.raises(imaging.UnsuitableFilm, match=r"[A-Z][a-z]+[A-Z][A-Za-z]+|Modality"):
            read()


@pytest.mark.parametrize(
    "attributes",
    [
        {"kind": uid.ComputedRadiographyImageStorage, "Modality": "CR"},
        {"kind": uid.DigitalXRayImageStorageForProcessing},
        {"kind": uid.SecondaryCaptureImageStorage, "Modality": "OT", "BodyPartExamined": None},
        {"kind": uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage, "NumberOfFrames": 1},
        {"NumberOfFrames": ""},
        {"Modality": None},
        {"BodyPartExamined": ""},
        {"BodyPartExamined": "PORTABLE CHEST"},
        {"BodyPartExamined": "Thorax"},
        {"BodyPartExamined": "LUNG"},
        {"BodyPartExamined": "LUNGS"},
        {"BodyPartExamined": "CHEST_PA"},
        {"BodyPartExamined": "THORAX AP"},
    ],
    ids=str,
)
def test_chest_films_of_many_kinds_are_read(attributes: dict[str, Any]) -> None:
    with warnings.catch_warnings(action="ignore"):  # pydicom minds the small letters
        encoded = dicom_films.encoded(dicom_films.film(EIGHT, **attributes))
    assert imaging.read(encoded, size=SIZE).doubts == ()


@pytest.mark.parametrize(
    ("attributes", "doubts"),
    [
        ({}, ()),
        ({"PatientAge": "001Y"}, ()),
        ({"PatientAge": "012M"}, ()),
        ({"PatientAge": "018M"}, ()),
        ({"PatientAge": "071M"}, ()),
        ({"PatientAge": "005Y"}, ()),
        ({"PatientAge": "100W"}, ()),
        ({"PatientAge": "900D"}, ()),
        ({"PatientAge": "006Y"}, ("age",)),
        ({"PatientAge": "072M"}, ("age",)),
        ({"PatientAge": "011M"}, ("age",)),
        ({"PatientAge": "011D"}, ("age",)),
        ({"PatientAge": "047Y"}, ("age",)),
        ({"PatientAge": None, "PatientBirthDate": "20190615", "StudyDate": "20250614"}, ()),
        ({"PatientAge": None, "PatientBirthDate": "20190615", "StudyDate": "20250615"}, ("age",)),
        ({"PatientAge": "", "PatientBirthDate": "20240701", "StudyDate": "20250630"}, ("age",)),
        ({"PatientAge": "003Y", "PatientBirthDate": "19500101", "StudyDate": "20250615"}, ("age",)),
        ({"PatientAge": "003Y", "PatientBirthDate": "20210615", "StudyDate": "20250615"}, ()),
        ({"PatientAge": "047Y", "PatientBirthDate": "20210615", "StudyDate": "20250615"}, ("age",)),
        ({"PatientAge": "003Y", "PatientBirthDate": "00000000", "StudyDate": "20250615"}, ()),
        ({"PatientAge": None, "PatientBirthDate": "20190615"}, ()),
        ({"PatientAge": None, "PatientBirthDate": "20190230", "StudyDate": "20250615"}, ("age",)),
        ({"PatientAge": None, "PatientBirthDate": "20260101", "StudyDate": "20250615"}, ("age",)),
        ({"PatientAge": "3"}, ()),
        ({"PatientAge": "4Y"}, ()),
        ({"PatientAge": "18 m"}, ()),
        ({"PatientAge": "30"}, ("age",)),
        ({"PatientAge": "30Y"}, ("age",)),
        ({"PatientAge": "72Y"}, ("age",)),
        ({"PatientAge": "0"}, ("age",)),
        ({"PatientAge": "ADULT"}, ("age",)),
        ({"PatientAge": "-03Y"}, ("age",)),
        ({"PatientAge": "003Y\\047Y"}, ("age",)),
        ({"ViewPosition": "AP"}, ()),
        ({"ViewPosition": "AP_SUPINE"}, ()),
        ({"ViewPosition": "LL"}, ("view",)),
        ({"ViewPosition": "LATERAL"}, ("view",)),
        ({"ViewPosition": "LLD"}, ("view",)),
        ({"ViewPosition": "PA OBLIQUE"}, ("view",)),
        ({"ViewPosition": "AP LAT"}, ("view",)),
        ({"ViewPosition": "PA/LAT"}, ("view",)),
        ({"ViewPosition": "AP AXIAL"}, ("view",)),
        ({"ViewPosition": "PA\\LL"}, ("view",)),
        ({"ViewPosition": "-"}, ("view",)),
        ({"ViewPosition": "pa erect"}, ()),
        ({"ViewPosition": "PA", "PatientOrientation": ["P", "F"]}, ("view",)),
        ({"ViewPosition": "PA", "PatientOrientation": ["L", "F"]}, ()),
        ({"ViewPosition": None, "PatientOrientation": ["F", "R"]}, ()),
        ({"ViewPosition": None, "PatientOrientation": ["F", "P"]}, ("view",)),
        ({"ViewPosition": None, "PatientOrientation": ["L", "P"]}, ("view",)),
        ({"ViewPosition": ""}, ()),
        ({"ViewPosition": None, "PatientOrientation": ["L", "F"]}, ()),
        ({"ViewPosition": None, "PatientOrientation": ["A", "F"]}, ("view",)),
        ({"ViewPosition": None, "PatientOrientation": ["PL", "F"]}, ("view",)),
        ({"PatientAge": "047Y", "ViewPosition": "RL"}, ("age", "view")),
    ],
    ids=str,
)
def test_what_the_file_says_of_patient_and_view_becomes_a_doubt(
    attributes: dict[str, Any], doubts: tuple[str, ...]
) -> None:
    with warnings.catch_warnings(action="ignore"):  # pydicom minds an age without a unit
        encoded = dicom_films.encoded(dicom_films.film(EIGHT, **attributes))
    assert imaging.read(encoded, size=SIZE).doubts == doubts


def test_a_giant_is_refused_by_its_header() -> None:
    giant = dicom_films.encoded(dicom_films.film(EIGHT, Rows=40_000, Columns=40_000))
    with pytest.raises(imaging.TooManyPixels):
        imaging.read(giant, size=SIZE)


def test_a_deflated_giant_is_refused_before_it_is_unpacked() -> None:
    giant = dicom_films.film(np.zeros((4000, 4000), np.uint16))
    deflated = dicom_films.encoded(giant, uid.DeflatedExplicitVRLittleEndian)
    assert len(deflated) < 100_000
    assert imaging.read(deflated, size=SIZE).pixels.max() == 0
    with pytest.raises(imaging.TooManyPixels):
        imaging.read(deflated, size=SIZE, max_pixels=1_000_000)


@pytest.mark.parametrize(
    "syntax", [*dicom_films.LOSSLESS, *dicom_films.LOSSY_8_BIT], ids=lambda syntax: syntax.name
)
def test_a_frame_of_another_size_than_its_header_says_is_not_unpacked(syntax: UID) -> None:
    dataset = dicom_films.film(radiographs.draw(64, 48))
    encoded = dicom_films.encoded(dataset, syntax)
    assert imaging.read(encoded, size=SIZE).width == 64
    rows = b"\x28\x00\x10\x00US\x02\x00"
    assert encoded.count(rows + b"\x30\x00") == 1
    with pytest.raises(imaging.UnreadableImage):
        imaging.read(encoded.replace(rows + b"\x30\x00", rows + b"\x31\x00"), size=SIZE)


def header_of(frame: bytes, syntax: UID) -> tuple[int, bytes]:
    """Where the frame header of a JPEG is, and one that claims 65,535 rows and columns."""
    marker = {uid.JPEGBaseline8Bit: b"\xff\xc0", uid.JPEGLSLossless: b"\xff\xf7"}.get(syntax, b"\xff\xc3")
    at = frame.index(marker)
    header = frame[at : at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")]
    return at, header[:5] + b"\xff\xff\xff\xff" + header[9:]


def hidden_giants(frame: bytes, syntax: UID) -> dict[str, bytes]:
    """The frame with a second header, which one reader of JPEG passes over and another one does not."""
    at, giant = header_of(frame, syntax)
    end = at + len(giant)
    comment = b"\xff\xfe" + (2 + len(giant)).to_bytes(2, "big") + giant
    return {
        "second": frame[:end] + giant + frame[end:],
        "first": frame[:at] + giant + frame[at:],
        "after a restart": frame[:2] + b"\xff\xd0\0\x04" + comment + frame[2:],
        "after a marker alone": frame[:2] + b"\xff\x01" + comment + frame[2:],
        "in a reserved segment": frame[:2] + b"\xff\xf0" + comment[2:] + frame[2:],
        "in a segment of no length": frame[:2] + b"\xff\xfe\0\0" + giant + frame[2:],
    }


@pytest.mark.parametrize(
    "syntax", [uid.JPEGLosslessSV1, uid.JPEGBaseline8Bit, uid.JPEGLSLossless], ids=lambda syntax: syntax.name
)
def test_a_frame_that_could_be_read_at_two_sizes_is_not_unpacked(
    syntax: UID, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = pydicom.dcmread(
        io.BytesIO(dicom_films.encoded(dicom_films.film(radiographs.draw(64, 48)), syntax)), force=False
    )
    stream = io.BytesIO(dataset.PixelData)
    parse_basic_offsets(stream)
    frame = b"".join(generate_fragments(stream))
    for unpack in ("_lossless_jpeg_decoded", "_jpeg_ls_decoded", "_by_pydicom"):
        monkeypatch.setattr(dicom_samples, unpack, lambda *_: pytest.fail("it is unpacked"))
    for name, giant in hidden_giants(frame, syntax).items():
        dataset.PixelData = encapsulate([giant])
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        with pytest.raises(imaging.UnreadableImage):
            imaging.read(buffer.getvalue(), size=SIZE)
            pytest.fail(name)


def test_a_frame_that_pillow_sees_at_another_size_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = dicom_films.encoded(dicom_films.film(radiographs.draw(64, 48)), uid.JPEGBaseline8Bit)
    other = Image.new("L", (640, 480))
    monkeypatch.setattr("app.imaging.dicom_samples.Image.open", lambda *_, **__: other)
    monkeypatch.setattr(dicom_samples, "_by_pydicom", lambda *_: pytest.fail("it is unpacked"))
    with pytest.raises(imaging.UnreadableImage):
        imaging.read(encoded, size=SIZE)


@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("table", [True, False])
def test_a_frame_may_come_in_pieces_with_or_without_their_places(fragments: int, table: bool) -> None:
    film = radiographs.draw(64, 48)
    whole = pydicom.dcmread(
        io.BytesIO(dicom_films.encoded(dicom_films.film(film), uid.JPEG2000Lossless)), force=False
    )
    stream = io.BytesIO(whole.PixelData)
    parse_basic_offsets(stream)
    frame = b"".join(generate_fragments(stream))
    whole.PixelData = encapsulate([frame], fragments_per_frame=fragments, has_bot=table)
    buffer = io.BytesIO()
    whole.save_as(buffer)
    assert np.array_equal(np.asarray(imaging.read_upright(buffer.getvalue())), film)


def test_jpeg_2000_in_a_wrapper_of_its_own_is_read() -> None:
    film = radiographs.draw(64, 48)
    whole = pydicom.dcmread(
        io.BytesIO(dicom_films.encoded(dicom_films.film(film), uid.JPEG2000Lossless)), force=False
    )
    jp2 = io.BytesIO()
    Image.fromarray(film).save(jp2, "JPEG2000")
    assert jp2.getvalue()[4:8] == b"jP  "
    whole.PixelData = encapsulate([jp2.getvalue()])
    buffer = io.BytesIO()
    whole.save_as(buffer)
    assert np.array_equal(np.asarray(imaging.read_upright(buffer.getvalue())), film)


@pytest.mark.parametrize("cut", [132, 140, 200, 400, 700, -1, -1000])
def test_a_file_that_is_cut_short_is_unreadable(cut: int) -> None:
    encoded = dicom_films.encoded(dicom_films.film(radiographs.draw(64, 48)))
    with pytest.raises((imaging.UnreadableImage, imaging.UnsuitableFilm)):
        imaging.read(encoded[:cut], size=SIZE)


@pytest.mark.parametrize(
    "attributes",
    [
        {"PixelData": None},
        {"Rows": None},
        {"Rows": 0},
        {"BitsStored": 12},
        {"HighBit": 9},
        {"PhotometricInterpretation": None},
        {"WindowCenter": 10, "WindowWidth": 10, "VOILUTFunction": "CURVED"},
        {"RescaleSlope": "1e308"},
        {"RescaleSlope": "-1e300", "WindowCenter": 100, "WindowWidth": 50},
        {"RescaleSlope": "1", "RescaleIntercept": "1e308"},
        {"VOILUTSequence": [Dataset()]},
        {"VOILUTSequence": dicom_films.lut(range(10), bits=20)},
    ],
    ids=" ".join,
)
def test_a_film_that_contradicts_itself_is_unreadable(attributes: dict[str, Any]) -> None:
    encoded = dicom_films.encoded(dicom_films.film(EIGHT, **attributes))
    with pytest.raises(imaging.UnreadableImage):
        imaging.read(encoded, size=SIZE)


@pytest.mark.parametrize("read", [imaging.read_upright, lambda data: imaging.read(data, size=SIZE)])
def test_a_film_that_does_not_fit_into_memory_is_refused(
    read: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(dicom_samples, "decoded", fail)
    with pytest.raises(imaging.TooManyPixels, match="memory"):
        read(dicom_films.encoded(dicom_films.film(EIGHT)))


@pytest.mark.parametrize("syntax", [uid.MPEG2MPML, uid.HTJ2KLossless, UID("1.2.3.4")])
def test_a_compression_that_is_not_read_is_told_so(syntax: UID) -> None:
    encoded = dicom_films.encoded(dicom_films.film(EIGHT))
    old, new = uid.ExplicitVRLittleEndian.encode(), syntax.encode()
    meta = b"\x02\x00\x10\x00UI"
    old_element = meta + (len(old) + len(old) % 2).to_bytes(2, "little") + old + bytes(len(old) % 2)
    new_element = meta + (len(new) + len(new) % 2).to_bytes(2, "little") + new + bytes(len(new) % 2)
    assert old_element in encoded
    with pytest.raises(imaging.UnsupportedImage, match="TransferSyntaxUID"):
        imaging.read(encoded.replace(old_element, new_element), size=SIZE)


def test_lossy_jpeg_of_12_bits_is_not_read() -> None:
    dataset = pydicom.dcmread(BUNDLED / "JPGExtended.dcm")
    with pytest.raises(imaging.UnsupportedImage, match="TransferSyntaxUID"):
        imaging.read(as_capture(dataset), size=SIZE)


def as_capture(dataset: Dataset) -> bytes:
    """Any picture as if it were a capture of a chest film; its pixels stay as they are compressed."""
    kept = (0x0028, 0x7FE0)
    for tag in [tag for tag in dataset.keys() if tag.group not in kept]:  # noqa: SIM118
        del dataset[tag]
    for keyword in ("WindowCenter", "WindowWidth", "PixelPaddingValue"):
        dataset.pop(keyword, None)
    dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("path", sorted(BUNDLED.glob("*.dcm")), ids=lambda path: path.name)
def test_files_of_many_makers_are_read_or_refused_with_a_reason(path: Path) -> None:
    data = path.read_bytes()
    try:
        film = imaging.read(data, size=SIZE)
    except imaging.ImagingError as error:
        assert str(error).endswith(".")
    else:
        assert film.format == "DICOM"


NOT_READ = {
    "GDCMJ2K_TextGBR.dcm",  # its wrapper says that the colours are green, blue and red
    "SC_rgb_jpeg_gdcm.dcm",  # colour in lossless JPEG
    "JPEG-lossy.dcm",  # 12 bits in lossy JPEG
    "JPGExtended.dcm",
}


NOT_WRITTEN = {"badVR.dcm", "SC_rgb_jpeg.dcm"}
"""pydicom cannot write these anew."""


def pictures() -> list[Path]:
    """Bundled files that hold pixels."""
    found = []
    with warnings.catch_warnings(action="ignore"):
        for path in sorted(BUNDLED.glob("*.dcm")):
            dataset = pydicom.dcmread(path, force=True)
            has_pixels = "PixelData" in dataset and "BitsAllocated" in dataset
            if has_pixels and "TransferSyntaxUID" in dataset.file_meta and path.name not in NOT_WRITTEN:
                found.append(path)
    return found


@pytest.mark.parametrize("path", pictures(), ids=lambda path: path.name)
def test_pixels_of_many_makers_are_what_pydicom_makes_of_them(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    suitable = int(dataset.get("NumberOfFrames") or 1) == 1 and dataset.BitsAllocated in (8, 16)
    suitable &= dataset.PhotometricInterpretation != "PALETTE COLOR"
    suitable &= dataset.SamplesPerPixel == 1 or dataset.BitsAllocated == 8
    try:
        expected = dataset.pixel_array.astype(float)
    except (ValueError, RuntimeError, AttributeError):
        expected = None
    encoded = as_capture(dataset)
    if not suitable or expected is None or path.name in NOT_READ:
        with pytest.raises(imaging.ImagingError):
            imaging.read_upright(encoded)
        return
    levels = np.asarray(imaging.read_upright(encoded)).astype(float)
    if expected.ndim == 3:
        assert np.abs(levels - expected @ [0.299, 0.587, 0.114]).mean() <= 2
    else:
        assert np.corrcoef(levels.ravel(), expected.ravel())[0, 1] > 0.99
