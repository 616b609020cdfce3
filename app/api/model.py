"""GET /model: the manifest of the model file being served, and how it is served."""

from fastapi import APIRouter

from app.api.dependencies import KeyHeld, ServiceOf
from app.api.examples import SERVED_MODEL, json_example, problems
from app.api.schemas import ServedModel

router = APIRouter(tags=["model"], dependencies=[KeyHeld])


@router.get(
    "/model",
    summary="The model and its figures",
    responses={200: json_example(SERVED_MODEL), **problems("host-refused", "key-refused", "rate-exceeded")},
)
async def model(service: ServiceOf) -> ServedModel:
    """The manifest in the model file, the file's SHA-256, the device, and the threshold in force."""
    classifier = service.classifier
    return ServedModel(
        manifest=classifier.manifest,
        sha256=classifier.sha256,
        provider=classifier.provider.name,
        provider_reason=classifier.provider.reason,
        precision=classifier.manifest.precision,
        threshold=classifier.threshold,
        threshold_overridden=classifier.threshold_overridden,
        heatmap=classifier.has_heatmap,
    )
