"""The files of a multipart form, in memory only: what a patient's film shows never touches a disk."""

from collections.abc import AsyncGenerator

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from app.api.errors import ClientGone, FieldMissing, MalformedForm, TooManyFiles
from app.telemetry import tracing

_MAX_FIELDS = 16
_MAX_FIELD_BYTES = 4096


class _InMemoryParser(MultiPartParser):
    """Starlette's parser, but its files never roll over to a temporary file: the body has a limit."""

    spool_max_size = 2**62
    finished = False

    def on_end(self) -> None:
        """Note that the closing boundary has come."""
        self.finished = True


async def read_files(request: Request, *, field: str, max_files: int) -> list[bytes]:
    """The contents of the form's files named `field`, in order, at least one.

    Raises:
        MalformedForm: the body is not a multipart form.
        FieldMissing: there is no file under that name.
        TooManyFiles: there are more than `max_files`, under whatever names.
        ClientGone: the client went away while sending.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise FieldMissing(f"Send multipart/form-data with the film as a file in the field '{field}'.")
    with tracing.span("receive"):
        form = await _parse(request, max_files)
    try:
        files = [part for part in form.getlist(field) if isinstance(part, UploadFile)]
        if not files:
            raise FieldMissing(f"The form has no file in the field '{field}'.")
        return [await file.read() for file in files]
    finally:
        await form.close()


async def _parse(request: Request, max_files: int) -> FormData:
    async def chunks() -> AsyncGenerator[bytes, None]:
        async for chunk in request.stream():
            yield chunk
        if not parser.finished:
            raise MultiPartException("The closing boundary is missing.")

    parser = _InMemoryParser(
        request.headers,
        chunks(),
        max_files=max_files,
        max_fields=_MAX_FIELDS,
        max_part_size=_MAX_FIELD_BYTES,
    )
    try:
        return await parser.parse()
    except ClientDisconnect as error:
        raise ClientGone("The client went away while sending.") from error
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise TooManyFiles(
                f"The form has more files than the {max_files} that are taken here."
            ) from error
        raise MalformedForm("The body is not a readable multipart form.") from error
