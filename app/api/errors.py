"""What can be answered instead of a finding, and the one table from exception to answer.

ApiError
├── MalformedRequest      no request of HTTP/1.1, or one that names no host or several
├── MalformedForm         the body is not the multipart form that it says it is
├── FieldMissing          the form has no file under the expected name
├── BodyTooLarge          more bytes than are allowed
├── TooManyFiles          more films in one request than are allowed
├── AddressTooLong        a path and query longer than any that the service knows
├── UploadTooSlow         the body did not arrive in time
├── HeadersTooSlow        the headers did not arrive in time
├── HeadersTooLarge       more headers, or more bytes of them, than are allowed
├── TooManyConnections    all connections have a request under way
├── KeyRefused            no key, or not one of ours
├── HostRefused           sent to a host name that is not ours
├── RateExceeded          the caller has sent as many films as it may for now
├── Overloaded            as many requests are under way as are allowed, or the wait is too long
├── Draining              the service is shutting down
├── InferenceRefused      a request of the Open Inference Protocol that this model cannot take
├── UnknownModel          another model, or another version of it, than the one being served
├── OutOfMemory           no memory to decode the film or to paint its heat map
├── NoHeatmap             this model has no heat map
├── DicomMissing          this installation writes no DICOM
├── UnknownProblem        no problem has this code
└── ClientGone            nobody waits for the answer any more

With `ImagingError` (app.imaging), `EngineError` (app.engine) and `ReportingError` (app.reporting), whose trees
stand in their own modules, these are all the exceptions that are expected while answering. Answers are RFC 9457
problem documents.
"""

from dataclasses import dataclass

from app.engine import errors as engine
from app.imaging import ImagingError, TooManyPixels, UnreadableImage, UnsuitableFilm, UnsupportedImage
from app.reporting.errors import NotDicom, OwnResult, ReportingError, Unidentified


class ApiError(Exception):
    """A request that cannot be answered as asked. The message never quotes the request."""

    retry_after: int | None = None


class MalformedRequest(ApiError):
    """No request of HTTP/1.1, or one that names no host or several."""


class MalformedForm(ApiError):
    """The body is not the multipart form that it says it is."""


class FieldMissing(ApiError):
    """The form has no file under the expected name."""


class BodyTooLarge(ApiError):
    """More bytes than are allowed."""


class TooManyFiles(ApiError):
    """More films in one request than are allowed."""


class UploadTooSlow(ApiError):
    """The body did not arrive in time."""


class HeadersTooSlow(ApiError):
    """The headers did not arrive in time."""


class HeadersTooLarge(ApiError):
    """More headers, or more bytes of them, than are allowed."""


class TooManyConnections(ApiError):
    """All connections have a request under way."""


class KeyRefused(ApiError):
    """No key, or not one of ours."""


class HostRefused(ApiError):
    """Sent to a host name that is not ours."""


class AddressTooLong(ApiError):
    """A path and query longer than any that the service knows."""


class RateExceeded(ApiError):
    """The caller has sent as many films as it may for now. `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("You have sent as many films as one caller may for now.")
        self.retry_after = retry_after


class Overloaded(ApiError):
    """As many requests are under way as are allowed, or the wait is too long. `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("As many films are under way as this service can judge in time.")
        self.retry_after = retry_after


class Draining(ApiError):
    """The service is shutting down."""


class InferenceRefused(ApiError):
    """A request of the Open Inference Protocol that this model cannot take."""


class UnknownModel(ApiError):
    """Another model, or another version of it, than the one being served."""


class OutOfMemory(ApiError):
    """No memory to decode the film or to paint its heat map."""


class NoHeatmap(ApiError):
    """This model has no heat map."""


class DicomMissing(ApiError):
    """This installation writes no DICOM."""


class UnknownProblem(ApiError):
    """No problem has this code."""


class ClientGone(ApiError):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: its stable code, status and title, and what to do about it."""

    code: str
    status: int
    title: str
    advice: str


INTERNAL = Kind("internal", 500, "Internal error", "Report the request id; the film was not judged.")
INVALID_REQUEST = Kind("invalid-request", 422, "Invalid request", "See `errors` for what to change.")

KINDS: dict[type[Exception], Kind] = {
    UnreadableImage: Kind(
        "unreadable-image", 400, "The file cannot be read", "Send the whole, undamaged file."
    ),
    MalformedRequest: Kind(
        "malformed-request", 400, "The request cannot be read", "Send a request of HTTP/1.1 (RFC 9112)."
    ),
    MalformedForm: Kind(
        "malformed-form", 400, "The form cannot be read", "Send multipart/form-data with a correct boundary."
    ),
    InferenceRefused: Kind(
        "inference-refused",
        400,
        "The inference request cannot be taken",
        "Send what the model's metadata asks for.",
    ),
    HostRefused: Kind("host-refused", 400, "Unknown host", "Use a host name listed in TRUSTED_HOSTS."),
    KeyRefused: Kind("key-refused", 401, "Key required", "Send one of the service's keys as X-API-Key."),
    UnknownProblem: Kind("unknown-problem", 404, "No such problem", "See the reference of problems."),
    UnknownModel: Kind("unknown-model", 404, "No such model", "GET /model tells the name and the version."),
    NotDicom: Kind(
        "no-dicom-result",
        406,
        "No DICOM result of this film",
        "Send the film as DICOM, or ask for another form of the answer.",
    ),
    UploadTooSlow: Kind("upload-too-slow", 408, "The upload took too long", "Send it again, faster."),
    HeadersTooSlow: Kind("headers-too-slow", 408, "The headers took too long", "Send it again, faster."),
    NoHeatmap: Kind(
        "no-heatmap", 409, "This model has no heat map", "Use /predict, or serve a model with a heat map."
    ),
    BodyTooLarge: Kind(
        "body-too-large", 413, "The upload is too large", "Send fewer bytes, or raise MAX_UPLOAD_MB."
    ),
    TooManyFiles: Kind(
        "too-many-files", 413, "Too many films in one request", "Send fewer films, or raise MAX_FILES."
    ),
    AddressTooLong: Kind(
        "address-too-long", 414, "The address is too long", "See /docs for the routes and their parameters."
    ),
    TooManyPixels: Kind(
        "too-many-pixels", 413, "The film has too many pixels", "Send a smaller film, or raise MAX_PIXELS."
    ),
    UnsupportedImage: Kind(
        "unsupported-image", 415, "Not a supported kind of file", "Send one film as JPEG, PNG or DICOM."
    ),
    UnsuitableFilm: Kind(
        "unsuitable-film",
        422,
        "Not a single chest film",
        "Send one chest film: CR, DX or a secondary capture.",
    ),
    FieldMissing: Kind(
        "field-missing", 422, "A form field is missing", "Send the film in the field that `detail` names."
    ),
    Unidentified: Kind(
        "film-unidentified",
        422,
        "The film does not say what it is",
        "Send a DICOM film with the UIDs of its instance, series and study.",
    ),
    OwnResult: Kind("own-result", 422, "A result, not a film", "Send the film that this is the result of."),
    DicomMissing: Kind(
        "dicom-missing", 501, "No DICOM here", "Install the service's extra 'dicom', or ask for another form."
    ),
    RateExceeded: Kind(
        "rate-exceeded", 429, "Too many films from you", "Try again after the seconds in Retry-After."
    ),
    HeadersTooLarge: Kind(
        "headers-too-large", 431, "The headers are too large", "Send fewer or shorter headers."
    ),
    TooManyConnections: Kind(
        "too-many-connections", 503, "Too many connections", "Try again after the seconds in Retry-After."
    ),
    Overloaded: Kind(
        "overloaded", 429, "Too many films at once", "Try again after the seconds in Retry-After."
    ),
    engine.QueueFull: Kind(
        "queue-full", 429, "The queue is full", "Try again after the seconds in Retry-After."
    ),
    ClientGone: Kind("client-gone", 499, "The client went away", "Nothing: nobody reads this answer."),
    OutOfMemory: Kind("out-of-memory", 503, "Out of memory", "Try again; the film was not judged."),
    engine.Warming: Kind("not-ready", 503, "Not ready yet", "Try again after the seconds in Retry-After."),
    Draining: Kind("draining", 503, "Shutting down", "Send it to another replica, or try again later."),
    engine.Stopped: Kind("stopped", 503, "Shutting down", "Send it to another replica, or try again later."),
    engine.DeviceFailed: Kind(
        "device-failed", 503, "The device failed", "Try again; the film was not judged."
    ),
    engine.OutOfDeviceMemory: Kind(
        "out-of-device-memory", 503, "The device is out of memory", "Try again; the film was not judged."
    ),
    engine.DeviceLost: Kind(
        "device-lost", 503, "The device is lost", "Nothing: the service ends, to be started anew."
    ),
    engine.DeviceMissing: Kind("device-missing", 503, "The device is missing", "See the service's log."),
    engine.ModelFileError: Kind("model-refused", 503, "The model is refused", "See the service's log."),
}
"""The table: subclasses of a listed class that are not listed themselves are answered like it."""

STATUS_KINDS: dict[int, Kind] = {
    404: Kind("not-found", 404, "No such page", "See /docs for the routes."),
    405: Kind("method-not-allowed", 405, "Method not allowed", "See the Allow header."),
}
"""Problems that the framework finds before any of our code runs."""

ALL_KINDS: dict[str, Kind] = {
    kind.code: kind for kind in (INTERNAL, INVALID_REQUEST, *STATUS_KINDS.values(), *KINDS.values())
}

EXPECTED = (ApiError, ImagingError, engine.EngineError, ReportingError)


def kind_of(error: Exception) -> Kind:
    """The kind of problem that `error` is, by the nearest of its classes that the table lists."""
    for ancestor in type(error).__mro__:
        if ancestor in KINDS:
            return KINDS[ancestor]
    return INTERNAL


def kind_of_status(status: int) -> Kind:
    """The kind of problem for a bare HTTP status."""
    if status in STATUS_KINDS:
        return STATUS_KINDS[status]
    return INVALID_REQUEST if status < 500 else INTERNAL


def detail_of(error: Exception, kind: Kind) -> str:
    """What to tell the client of this occurrence; of a failure on our side, nothing but the advice."""
    return kind.advice if kind.status >= 500 or not str(error) else str(error)


def retry_after(error: Exception, kind: Kind) -> int | None:
    """Seconds until a new try makes sense, or None where it does not."""
    known = getattr(error, "retry_after", None)
    if known is not None:
        return int(known)
    return 1 if kind.status == 503 else None
