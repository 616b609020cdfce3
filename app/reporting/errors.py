"""Why a film has no result as a DICOM object.

ReportingError
├── NotDicom        the film is no DICOM object, so that no study is there to file a result in
├── Unidentified    the DICOM object does not say which instance, series or study it is
└── OwnResult       the film is a result of this service, not a radiograph
"""


class ReportingError(ValueError):
    """A film without a DICOM result. The message never quotes the film's content."""


class NotDicom(ReportingError):
    """The film is no DICOM object, so that no study is there to file a result in."""


class Unidentified(ReportingError):
    """The DICOM object does not say which instance, series or study it is."""


class OwnResult(ReportingError):
    """The film is a result of this service, not a radiograph."""
