"""What routes ask for by type."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Query, Request, Security
from fastapi.security import APIKeyHeader

from app.api.callers import KEY_HEADER, caller_of
from app.api.errors import KeyRefused
from app.api.forms import read_files
from app.api.service import Service

_KEY_HEADER = APIKeyHeader(
    name=KEY_HEADER, auto_error=False, description="Asked for where the service has keys."
)


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(_service)]


async def _key(
    request: Request, service: ServiceOf, key: Annotated[str | None, Security(_KEY_HEADER)]
) -> None:
    if service.keys.required and caller_of(request.scope, service.keys).name is None:
        if key:
            service.charge(request.scope, 1)  # guessing is counted as well
        raise KeyRefused("Send one of the service's keys in the X-API-Key header.")


KeyHeld = Depends(_key)


async def _place(request: Request, service: ServiceOf, _key: Annotated[None, KeyHeld]) -> AsyncIterator[None]:
    service.require_ready()
    with service.admission.place():
        service.charge(request.scope, 1)
        yield


Place = Annotated[None, Depends(_place)]


async def _film(request: Request, service: ServiceOf, _place: Place) -> bytes:
    (film,) = await read_files(request, field="file", max_files=1)
    service.admission.judge_wait()
    return film


async def _films(request: Request, service: ServiceOf, _place: Place) -> list[bytes]:
    films = await read_files(request, field="files", max_files=service.settings.max_files)
    service.charge(request.scope, len(films), known=1)
    service.admission.judge_wait()
    return films


Film = Annotated[bytes, Depends(_film)]
"""The bytes of the one file in the form, read only once a place is held."""

Films = Annotated[list[bytes], Depends(_films)]
"""The bytes of each file in the form, in order, read only once a place is held."""

Explain = Annotated[
    bool, Query(description="Add the heat map as a picture to lay over the film, where the model has one.")
]
