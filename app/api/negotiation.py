"""Which form of an answer a client wants, by its Accept header (RFC 9110, 12.5.1)."""

from starlette.requests import Request

DICOM = "application/dicom"
VARY = {"Vary": "Accept"}


def prefers_dicom(request: Request, *, over: str) -> bool:
    """Whether the client would rather have a DICOM object than `over`, which is what it gets if in doubt."""
    accept = ",".join(request.headers.getlist("accept"))
    return quality(accept, DICOM) > quality(accept, over)


def quality(accept: str, media_type: str) -> float:
    """The weight from 0 to 1 that an Accept header gives `media_type`, by the most specific range that fits."""
    family = media_type.partition("/")[0]
    weights: dict[str, float] = {}
    for item in accept.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        weights[name] = _weight(parameters)
    fitting = (weights[name] for name in (media_type, f"{family}/*", "*/*") if name in weights)
    return next(fitting, 0.0)


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
