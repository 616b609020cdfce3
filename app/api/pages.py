"""GET / and /docs: pages for people, which load nothing from another host."""

from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.requests import Request
from starlette.staticfiles import StaticFiles

WEB = Path(__file__).parent.parent / "web"

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI sets style attributes from its own script and shows icons from data: URIs.
_DOCS_POLICY = _PAGE_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
_REVALIDATE = {"Cache-Control": "no-cache"}

router = APIRouter(include_in_schema=False)


class Assets(StaticFiles):
    """Static files that browsers may keep, but ask about again."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """The file, to be revalidated before each use."""
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers.update(_REVALIDATE)
        return response


@router.get("/")
async def page() -> Response:
    """The page."""
    headers = {"Content-Security-Policy": _PAGE_POLICY, **_REVALIDATE}
    return FileResponse(WEB / "index.html", media_type="text/html; charset=utf-8", headers=headers)


@router.get("/openapi.json")
async def openapi(request: Request) -> JSONResponse:
    """The OpenAPI document."""
    document: dict[str, Any] = request.app.openapi()
    if not request.app.state.service.keys.required:
        document = without_keys(document)
    if root_path := request.scope.get("root_path"):
        document = {**document, "servers": [{"url": root_path}]}
    return JSONResponse(document)


def without_keys(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document of a service that asks for no key."""
    paths = {
        path: {
            method: {name: value for name, value in operation.items() if name != "security"}
            for method, operation in methods.items()
        }
        for path, methods in document["paths"].items()
    }
    components = {name: value for name, value in document["components"].items() if name != "securitySchemes"}
    return {**document, "paths": paths, "components": components}


@router.get("/docs")
async def docs() -> Response:
    """The OpenAPI document as a page that can be tried out."""
    headers = {"Content-Security-Policy": _DOCS_POLICY, **_REVALIDATE}
    return FileResponse(WEB / "docs.html", media_type="text/html; charset=utf-8", headers=headers)


def install(app: FastAPI) -> None:
    """Serve the pages and what they load."""
    app.include_router(router)
    app.mount("/assets/swagger", Assets(directory=str(resources.files("fastapi_offline") / "static")))
    app.mount("/assets", Assets(directory=WEB))
