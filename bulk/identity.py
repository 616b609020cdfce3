"""Which DICOM object a film is: read only where the user asks for it."""

import io
import re
from typing import NamedTuple

import pydicom

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_MOST_CHARACTERS = 64


class Identity(NamedTuple):
    """SOPInstanceUID and StudyInstanceUID; None where the file does not tell, or tells something else."""

    instance: str | None = None
    study: str | None = None


def identity(content: bytes) -> Identity:
    """The UIDs of a DICOM film that was read without fault."""
    dataset = pydicom.dcmread(
        io.BytesIO(content), stop_before_pixels=True, specific_tags=["SOPInstanceUID", "StudyInstanceUID"]
    )
    return Identity(_uid(dataset.get("SOPInstanceUID")), _uid(dataset.get("StudyInstanceUID")))


def _uid(value: object) -> str | None:
    text = str(value or "").strip(" \0")
    return text if len(text) <= _MOST_CHARACTERS and _UID.fullmatch(text) else None
