"""POST /film: the film as a picture that any viewer shows."""

from fastapi import APIRouter, Request, Response

from app.api.dependencies import Film, ServiceOf
from app.api.examples import DECODING_PROBLEMS, UPLOAD_PROBLEMS, form, problems
from app.api.painting import film_alone
from app.api.requests import unless_gone
from app.telemetry import tracing

router = APIRouter(tags=["films"])


@router.post(
    "/film",
    summary="Show the film",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
        **problems(*UPLOAD_PROBLEMS, *DECODING_PROBLEMS),
    },
    openapi_extra=form("file"),
)
async def film_as_picture(request: Request, service: ServiceOf, film: Film) -> Response:
    """The film, upright and at its own size, as an 8-bit greyscale PNG; larger ones come back with 4 megapixels.

    Nothing is judged: this is for viewers that cannot read the file themselves, as browsers cannot read DICOM.
    """
    with tracing.span("encode"):
        picture = await unless_gone(request, film_alone(service, film))
    return Response(picture, media_type="image/png")
