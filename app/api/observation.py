"""GET /metrics: what Prometheus scrapes."""

from fastapi import APIRouter, Response

from app.api.dependencies import ServiceOf
from app.api.examples import METRICS, problems
from app.telemetry.metrics import CONTENT_TYPE

router = APIRouter(tags=["operation"])


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {"content": {CONTENT_TYPE: {"schema": {"type": "string"}, "example": METRICS}}},
        **problems("host-refused"),
    },
)
async def metrics(service: ServiceOf) -> Response:
    """All metrics in Prometheus's text format."""
    return Response(service.metrics.exposition(), media_type=CONTENT_TYPE)
