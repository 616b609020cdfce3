"""DICOM files by their first bytes, without a library."""

from app.reporting.errors import NotDicom

_PREAMBLE = 128


def is_dicom(data: bytes) -> bool:
    """Whether `data` begins as a DICOM file does (PS3.10)."""
    return data[_PREAMBLE : _PREAMBLE + 4] == b"DICM"


def require_dicom(data: bytes) -> None:
    """Go on only with a DICOM file.

    Raises:
        NotDicom: `data` is none.
    """
    if not is_dicom(data):
        raise NotDicom("Only a DICOM film has a study to file a DICOM result in.")
