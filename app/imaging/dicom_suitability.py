"""Which DICOM objects are read as chest films, and what they say of patient and view that no model here knows."""

import datetime
import re

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from app.imaging.errors import UnsuitableFilm
from app.imaging.radiograph import Doubt

ATTRIBUTES = (
    "SOPClassUID",
    "NumberOfFrames",
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "PatientOrientation",
    "PatientAge",
    "PatientBirthDate",
    "StudyDate",
)
"""What is looked at here."""

KINDS = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
)
"""SOP classes that are read; those for several frames where they hold one."""

MODALITIES = ("CR", "DX", "RG", "OT", "SC", "XC")
"""Values of Modality that are read, beside none: radiography, and what captures of it are called."""

_CHEST_NAMES = ("CHEST", "THORAX", "TORAX", "LUNG", "LUNGS")
CHEST = frozenset(
    form.format(name)
    for name in _CHEST_NAMES
    for form in ("{}", "{} PA", "{} AP", "PA {}", "AP {}", "{} PORTABLE", "PORTABLE {}")
)
"""Every BodyPartExamined that is read, words parted by a space; any other one might name more than the chest."""

FRONTAL = frozenset(
    view + posture for view in ("PA", "AP") for posture in ("", " SUPINE", " ERECT", " UPRIGHT", " PORTABLE")
)
"""Every ViewPosition that is frontal for sure, words parted by a space."""

KNOWN_AGES = range(1, 6)
"""Ages of the children that the model knows, in completed years."""

_PARTED = re.compile(r"[ _-]+")
_AGE = re.compile(r"([0-9]{1,4}) *([DWMY]?)")
_DATE = re.compile(r"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})")
_FRONTAL_PLANE = re.compile(r"[LR]\\[FH]|[FH]\\[LR]")
_A_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0, "": 1.0}


def require_chest_film(dataset: Dataset) -> None:
    """Go on only with a single film, and with none that says it shows something else than a chest.

    Raises:
        UnsuitableFilm: it is none.
    """
    if UID(_text(dataset, "SOPClassUID")) not in KINDS:
        raise UnsuitableFilm(
            "The DICOM object is of another kind (SOPClassUID) than computed or digital radiography or a "
            "secondary capture."
        )
    if int(_text(dataset, "NumberOfFrames") or 1) > 1:
        raise UnsuitableFilm("The DICOM object has several frames (NumberOfFrames): it is not a single film.")
    modality = _text(dataset, "Modality")
    if modality and modality not in MODALITIES:
        raise UnsuitableFilm("The DICOM object's Modality is not radiography.")
    part = _words(dataset, "BodyPartExamined")
    if part and part not in CHEST:
        raise UnsuitableFilm(
            "The DICOM object's BodyPartExamined names another part of the body than the chest, or more than it."
        )


def doubts(dataset: Dataset) -> tuple[Doubt, ...]:
    """What the object says of patient and view that the model does not know; what it leaves open is no doubt."""
    found: list[Doubt] = []
    if _age_is_doubtful(dataset):
        found.append("age")
    if _is_not_frontal(dataset):
        found.append("view")
    return tuple(found)


def _is_not_frontal(dataset: Dataset) -> bool:
    position = _words(dataset, "ViewPosition")
    if position and position not in FRONTAL:
        return True
    # Rows and columns of a frontal film run to a side (L, R) and to the feet or the head (F, H), in either order;
    # those of a lateral one to the front or the back (A, P) too.
    orientation = _text(dataset, "PatientOrientation")
    return bool(orientation) and not _FRONTAL_PLANE.fullmatch(orientation)


def _age_is_doubtful(dataset: Dataset) -> bool:
    """Whether the age or the dates tell another age than the model knows, or one that cannot be understood."""
    told = _text(dataset, "PatientAge")
    if told:
        age = _AGE.fullmatch(told)
        if not age or int(int(age[1]) / _A_YEAR[age[2]]) not in KNOWN_AGES:
            return True
    if not (_text(dataset, "PatientBirthDate") and _text(dataset, "StudyDate")):
        return False
    born, seen = _date(dataset, "PatientBirthDate"), _date(dataset, "StudyDate")
    if born is None or seen is None:
        return not told
    return seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day)) not in KNOWN_AGES


def _date(dataset: Dataset, keyword: str) -> datetime.date | None:
    told = _DATE.fullmatch(_text(dataset, keyword))
    if not told:
        return None
    try:
        return datetime.date(*map(int, told.groups()))
    except ValueError:
        return None


def _text(dataset: Dataset, keyword: str) -> str:
    """An attribute's values in capitals, parted by backslashes as in the file; empty where there is none."""
    value = dataset.get(keyword)
    values = value if isinstance(value, MultiValue) else [value]
    texts = ("" if one is None else str(one).strip(" \0").upper() for one in values)
    return "\\".join(text for text in texts if text)


def _words(dataset: Dataset, keyword: str) -> str:
    """The same with a single space between words, however they are parted."""
    text = _text(dataset, keyword)
    return _PARTED.sub(" ", text).strip() or text
