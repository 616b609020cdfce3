"""GET /health/live and /health/ready: the status code is the answer."""

from fastapi import APIRouter

from app.api.dependencies import ServiceOf
from app.api.examples import json_example, problems
from app.api.schemas import Health

router = APIRouter(prefix="/health", tags=["operation"])


@router.get(
    "/live",
    summary="Is the process alive?",
    responses={200: json_example({"status": "live"}), **problems("host-refused", "device-lost")},
)
async def live(service: ServiceOf) -> Health:
    """200 as long as the process answers at all, and its device does."""
    service.require_alive()
    return Health(status="live")


@router.get(
    "/ready",
    summary="Does it take films?",
    responses={
        200: json_example({"status": "ready"}),
        **problems("host-refused", "not-ready", "draining", "device-lost"),
    },
)
async def ready(service: ServiceOf) -> Health:
    """200 once every batch size has been run, while the device works, and until the service is told to stop."""
    service.require_ready()
    return Health(status="ready")
