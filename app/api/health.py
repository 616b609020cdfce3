"""GET /health/live and /health/ready: the status code is the answer."""

from fastapi import APIRouter

from app.api.dependencies import ServiceOf
from app.api.errors import Draining
from app.api.examples import problems
from app.api.schemas import Health
from app.engine.errors import Warming

router = APIRouter(prefix="/health", tags=["operation"])


@router.get("/live", summary="Is the process alive?", responses=problems("host-refused"))
async def live() -> Health:
    """200 as long as the process answers at all."""
    return Health(status="live")


@router.get(
    "/ready",
    summary="Does it take films?",
    responses=problems("host-refused", "not-ready", "draining"),
)
async def ready(service: ServiceOf) -> Health:
    """200 once every batch size has been run, and until the service is told to stop."""
    if service.draining:
        raise Draining("The service is shutting down.")
    if not service.batcher.ready:
        raise Warming("The model is still being warmed.")
    return Health(status="ready")
