"""What a result takes over from its film: whose it is and where it belongs, never pixels."""

import io
import logging
import re
import warnings
from dataclasses import dataclass, field

import pydicom
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from app.reporting import MANUFACTURER
from app.reporting.errors import OwnResult, Unidentified
from app.reporting.signature import require_dicom

UTF8 = "ISO_IR 192"

# Both quote values in their warnings and logs. Set once: `warnings.catch_warnings` is not safe among threads.
warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)(\.|$)")
for _name in ("pydicom", "highdicom"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)

_CHARACTER = r"[^\\\x00-\x1f\x7f-\x9f\ud800-\udfff]"
_SHORT = re.compile(f"{_CHARACTER}{{0,16}}")
_LONG = re.compile(f"{_CHARACTER}{{0,64}}")
_NAME_GROUP = _CHARACTER.replace("[^", "[^=") + "{0,64}"
_NAME = re.compile(f"{_NAME_GROUP}(={_NAME_GROUP}){{0,2}}")
_DATE = re.compile(r"[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])|")
_TIME = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9](([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?|")
_UID = re.compile(r"(?=.{1,64}\Z)[0-2](\.(0|[1-9][0-9]*))+")
"""The forms of the value representations SH, LO, PN, DA, TM and UI of PS3.5, each of one value."""

_REQUIRED = {
    "PatientName": _NAME,
    "PatientID": _LONG,
    "PatientBirthDate": _DATE,
    "PatientSex": re.compile(r"[MFO]?"),
    "StudyDate": _DATE,
    "StudyTime": _TIME,
    "AccessionNumber": _SHORT,
    "ReferringPhysicianName": _NAME,
    "StudyID": _SHORT,
}
"""Patient and study, as they must stand in every object, perhaps empty; what is not of this form is left out."""

_OPTIONAL = {
    "IssuerOfPatientID": _LONG,
    "PatientAge": re.compile(r"[0-9]{3}[DWMY]"),
    "StudyDescription": _LONG,
}
_UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_IMAGE = {
    "InstanceNumber": re.compile(r"[0-9]{1,9}"),
    "PatientOrientation": re.compile(r"[A-Z]{1,16}\\[A-Z]{1,16}"),
    "BurnedInAnnotation": re.compile(r"YES|NO"),
    "LossyImageCompression": re.compile(r"01"),
    "LossyImageCompressionRatio": re.compile(r"[0-9]{1,9}(\.[0-9]{1,5})?(\\[0-9]{1,9}(\.[0-9]{1,5})?)*"),
    "LossyImageCompressionMethod": re.compile(r"[A-Z0-9_]{1,16}(\\[A-Z0-9_]{1,16})*"),
}
"""What a result passes on of the image, where it is of this form."""


@dataclass(frozen=True, slots=True)
class Source:
    """The film that a result is of.

    `patient_and_study`: attributes by keyword, as text. `image`: what the film says of itself as an image, by
    keyword; only what it does say.
    """

    sop_class_uid: str
    sop_instance_uid: str = field(repr=False)
    series_instance_uid: str = field(repr=False)
    study_instance_uid: str = field(repr=False)
    patient_and_study: dict[str, str] = field(repr=False)
    image: dict[str, str] = field(repr=False)

    @property
    def instance_number(self) -> int:
        """The film's number in its series, 1 where it has none."""
        return max(1, int(self.image.get("InstanceNumber", 1)))

    def reference(self) -> Dataset:
        """A dataset that names the film and nobody: highdicom refuses or warns of names that it does not like."""
        dataset = Dataset()
        dataset.SpecificCharacterSet = UTF8
        dataset.SOPClassUID = self.sop_class_uid
        dataset.SOPInstanceUID = self.sop_instance_uid
        dataset.SeriesInstanceUID = self.series_instance_uid
        dataset.StudyInstanceUID = self.study_instance_uid
        for keyword in _REQUIRED:
            setattr(dataset, keyword, "")
        return dataset


def read_source(data: bytes) -> Source:
    """What a result takes over from the film in `data`, a whole DICOM file that has been decoded before.

    That is where its size was judged: a deflated one is inflated here as a whole.

    Raises:
        NotDicom: it is none.
        Unidentified: it does not say which instance, series or study it is.
        OwnResult: it is a result of this service.
    """
    require_dicom(data)
    tags = [*_UIDS, *_REQUIRED, *_OPTIONAL, *_IMAGE, "Manufacturer"]
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=list(tags))
        values = {keyword: _text(dataset.get(keyword)) for keyword in tags}
    except Exception:  # noqa: BLE001 - pydicom raises whatever damaged bytes provoke, and quotes them
        raise Unidentified("The DICOM file's own attributes cannot be read.") from None
    if values["Manufacturer"] == MANUFACTURER:
        raise OwnResult("This is a result of this service, not a film.")
    missing = [keyword for keyword in _UIDS if not _UID.fullmatch(values[keyword])]
    if missing:
        raise Unidentified(f"The DICOM file lacks a valid {missing[0]}.")

    def kept(forms: dict[str, re.Pattern[str]]) -> dict[str, str]:
        return {
            keyword: values[keyword] if form.fullmatch(values[keyword]) else ""
            for keyword, form in forms.items()
        }

    return Source(
        sop_class_uid=values["SOPClassUID"],
        sop_instance_uid=values["SOPInstanceUID"],
        series_instance_uid=values["SeriesInstanceUID"],
        study_instance_uid=values["StudyInstanceUID"],
        patient_and_study=kept(_REQUIRED) | _given(kept(_OPTIONAL)),
        image=_given(kept(_IMAGE)),
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, MultiValue):
        return "\\".join(str(part) for part in value)
    return str(value).strip(" \0")


def _given(values: dict[str, str]) -> dict[str, str]:
    return {keyword: value for keyword, value in values.items() if value}
