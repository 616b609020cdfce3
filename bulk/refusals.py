"""What keeps a single film from a finding: the codes and words of the service's problems, and two of files."""

import os

from app.engine.errors import DeviceFailed
from app.imaging import ImagingError, TooManyPixels, UnreadableImage, UnsuitableFilm, UnsupportedImage
from bulk.errors import NoRegularFile

CODES: dict[type[Exception], str] = {
    UnreadableImage: "unreadable-image",
    UnsupportedImage: "unsupported-image",
    UnsuitableFilm: "unsuitable-film",
    TooManyPixels: "too-many-pixels",
    DeviceFailed: "device-failed",
}
"""As in the service's own table (app/api/errors.py); a test compares them."""

NOT_OPENED = "file-not-opened"
TOO_LARGE = "body-too-large"
INTERNAL = "internal"

_NEVER_SAID = "The film was not judged: the program failed on it."
_DEVICE = "The device answered with something that is not a probability."


def refusal(error: Exception) -> tuple[str, str]:
    """Code and sentence for an exception; the sentence quotes neither the file's name nor its content."""
    if isinstance(error, NoRegularFile):
        return NOT_OPENED, "The file cannot be read: it is a device, a pipe or a socket."
    if isinstance(error, OSError):
        # Not its own words: those of object stores repeat the name.
        why = os.strerror(error.errno) if error.errno else type(error).__name__
        return NOT_OPENED, f"The file cannot be read: {why}."
    for kind, code in CODES.items():
        if isinstance(error, kind):
            return code, str(error) if isinstance(error, ImagingError) else _DEVICE
    return INTERNAL, _NEVER_SAID


def too_large(limit: int) -> tuple[str, str]:
    """Code and sentence for a file that is larger than it may be."""
    return TOO_LARGE, f"The file is larger than {limit:,} bytes; PNEUMOSCOPE_MAX_UPLOAD_MB allows for more."
