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

CHEST = ("CHEST", "THORAX", "TORAX", "LUNG")
"""One of these is in a BodyPartExamined that is read, as in "CHEST" or "THORAX PA"."""

MORE_THAN_CHEST = ("ABD",)
"""And none of these, as in "CHESTABDOMEN"."""

KNOWN_AGES = range(1, 6)
"""Ages of the children that the model knows, in completed years."""

_FRONTAL = re.compile(r"(PA|AP)([^A-Z].*)?")
_AGE = re.compile(r"(\d{3})([DWMY])")
_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_A_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}


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
    part = _text(dataset, "BodyPartExamined")
    if part and (
        not any(name in part for name in CHEST) or any(further in part for further in MORE_THAN_CHEST)
    ):
        raise UnsuitableFilm(
            "The DICOM object's BodyPartExamined names another part of the body than the chest."
        )


def doubts(dataset: Dataset) -> tuple[Doubt, ...]:
    """What the object says of patient and view that the model does not know; what it leaves open is no doubt."""
    found: list[Doubt] = []
    age = _age(dataset)
    if age is not None and age not in KNOWN_AGES:
        found.append("age")
    if _is_not_frontal(dataset):
        found.append("view")
    return tuple(found)


def _is_not_frontal(dataset: Dataset) -> bool:
    position = _text(dataset, "ViewPosition")
    if position:
        return not _FRONTAL.fullmatch(position)
    # Rows of a lateral film run to the patient's front or back (A, P), those of a frontal one to a side (L, R).
    return _text(dataset, "PatientOrientation").startswith(("A", "P"))


def _age(dataset: Dataset) -> int | None:
    """Completed years at the time of the study, None where they are not told."""
    told = _AGE.fullmatch(_text(dataset, "PatientAge"))
    if told:
        return int(int(told[1]) / _A_YEAR[told[2]])
    born, seen = _date(dataset, "PatientBirthDate"), _date(dataset, "StudyDate")
    if born is None or seen is None or seen < born:
        return None
    return seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))


def _date(dataset: Dataset, keyword: str) -> datetime.date | None:
    told = _DATE.fullmatch(_text(dataset, keyword))
    if not told:
        return None
    try:
        return datetime.date(*map(int, told.groups()))
    except ValueError:
        return None


def _text(dataset: Dataset, keyword: str) -> str:
    """An attribute's first value in capitals, empty where there is none."""
    value = dataset.get(keyword)
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    return "" if value is None else str(value).strip(" \0").upper()
