"""What can be wrong with an upload.

ImagingError
├── UnreadableImage     the bytes are empty, cut short or corrupt
├── UnsupportedImage    a kind of file that is not read here
├── UnsuitableFilm      a DICOM object that is not a single chest film
└── TooManyPixels       its header claims more pixels than are allowed
"""


class ImagingError(ValueError):
    """An upload that is not a readable radiograph. The message never quotes the upload's content."""


class UnreadableImage(ImagingError):
    """The bytes are empty, cut short or corrupt."""


class UnsupportedImage(ImagingError):
    """A kind of file that is not read here, or one that holds more than one picture."""


class UnsuitableFilm(ImagingError):
    """A DICOM object that is not a single chest film. The message names attributes, never their values."""


class TooManyPixels(ImagingError):
    """The header claims more pixels than are allowed; nothing was decoded."""
