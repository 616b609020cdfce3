"""/v2: the Open Inference Protocol, for clients of KServe and Triton.

Films come decoded, as the tensor that the model takes; the outputs go back as the model file has them. They wait
in the same queue as uploads, and are judged in the same batches.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import APIRouter, Depends, Header, Request, Response
from starlette.requests import ClientDisconnect

from app import __version__
from app.api import tensors
from app.api.dependencies import KeyHeld, Place, ServiceOf
from app.api.errors import ClientGone, UnknownModel
from app.api.examples import (
    INFERENCE_PROBLEMS,
    MODEL_CONFIG,
    MODEL_METADATA,
    SERVER_METADATA,
    inference_answer,
    inference_body,
    inference_errors,
    json_example,
)
from app.api.problems import OPEN_INFERENCE
from app.api.reading import judge
from app.api.requests import unless_gone
from app.api.schemas import ModelConfig, ModelMetadata, ModelReady, ServerLive, ServerMetadata, ServerReady
from app.api.service import Service
from app.engine.answers import Answer
from app.imaging import Exposure, measure_exposure
from app.telemetry import tracing

PLATFORM = "onnxruntime_onnx"

_METADATA_PROBLEMS = ("host-refused", "key-refused", "rate-exceeded", "unknown-model", "invalid-request")

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

router = APIRouter(prefix=OPEN_INFERENCE, tags=["open inference protocol"])


async def _model(service: ServiceOf, model: str) -> None:
    if model != service.classifier.manifest.name:
        raise UnknownModel("This service has no model of that name.")


async def _version(service: ServiceOf, model: str, version: str) -> None:
    await _model(service, model)
    if version != service.classifier.manifest.version:
        raise UnknownModel("This service has no such version of the model.")


def _of_model(
    path: str, *, key: bool = True, method: str = "GET", **options: Any
) -> Callable[[Endpoint], Endpoint]:
    """Route `path` of the model, and the same of its version."""

    def route(endpoint: Endpoint) -> Endpoint:
        for place, check in (("", _model), ("/versions/{version}", _version)):
            dependencies = [*([KeyHeld] if key else []), Depends(check)]
            router.add_api_route(
                f"/models/{{model}}{place}{path}",
                endpoint,
                methods=[method],
                dependencies=dependencies,
                **options,
            )
        return endpoint

    return route


@router.get(
    "",
    summary="The server",
    responses={200: json_example(SERVER_METADATA), **inference_errors("host-refused")},
)
async def server() -> ServerMetadata:
    """Name, version, and the extensions of the protocol that are there."""
    return ServerMetadata(
        name="pneumoscope", version=__version__, extensions=["binary_tensor_data", "model_configuration"]
    )


@router.get(
    "/health/live",
    summary="Is the process alive?",
    responses={200: json_example({"live": True}), **inference_errors("host-refused", "device-lost")},
)
async def live(service: ServiceOf) -> ServerLive:
    """200 as long as the process answers at all, and its device does."""
    service.require_alive()
    return ServerLive(live=True)


@router.get(
    "/health/ready",
    summary="Does it take films?",
    responses={
        200: json_example({"ready": True}),
        **inference_errors("host-refused", "not-ready", "draining", "device-lost"),
    },
)
async def ready(service: ServiceOf) -> ServerReady:
    """200 once every batch size has been run, and until the service is told to stop."""
    service.require_ready()
    return ServerReady(ready=True)


@_of_model(
    "/ready",
    key=False,
    summary="Does the model take films?",
    responses={
        200: json_example({"name": "pneumonia", "ready": True}),
        **inference_errors(
            "host-refused", "unknown-model", "invalid-request", "not-ready", "draining", "device-lost"
        ),
    },
)
async def model_ready(service: ServiceOf) -> ModelReady:
    """200 whenever the service is ready: it serves one model."""
    service.require_ready()
    return ModelReady(name=service.classifier.manifest.name, ready=True)


@_of_model(
    "",
    summary="The model's tensors",
    responses={
        200: json_example(MODEL_METADATA),
        **inference_errors(*_METADATA_PROBLEMS),
    },
)
async def metadata(service: ServiceOf) -> ModelMetadata:
    """Names, types and shapes of the input and the outputs; -1 is the number of films."""
    manifest, size = service.classifier.manifest, service.classifier.input_size
    return ModelMetadata(
        name=manifest.name,
        versions=[manifest.version],
        platform=PLATFORM,
        inputs=[{"name": "pixels", "datatype": "UINT8", "shape": [-1, size, size]}],
        outputs=[
            {"name": name, "datatype": "FP32", "shape": [-1, *shape]}
            for name, shape in service.classifier.output_shapes.items()
        ],
    )


@_of_model(
    "/config",
    summary="The model's configuration",
    response_model_exclude_none=True,
    responses={
        200: json_example(MODEL_CONFIG),
        **inference_errors(*_METADATA_PROBLEMS),
    },
)
async def config(service: ServiceOf) -> ModelConfig:
    """The model in Triton's words."""
    size = service.classifier.input_size
    return ModelConfig(
        name=service.classifier.manifest.name,
        platform=PLATFORM,
        backend="onnxruntime",
        max_batch_size=service.settings.max_files,
        input=[{"name": "pixels", "data_type": "TYPE_UINT8", "dims": [size, size]}],
        output=[
            {"name": name, "data_type": "TYPE_FP32", "dims": shape}
            if shape
            else {"name": name, "data_type": "TYPE_FP32", "dims": [1], "reshape": {"shape": []}}
            for name, shape in service.classifier.output_shapes.items()
        ],
    )


@_of_model(
    "/infer",
    method="POST",
    summary="Run the model on decoded films",
    response_description="The outputs asked for: JSON, or JSON followed by raw bytes.",
    response_model=tensors.InferenceResponse,
    responses={200: inference_answer(), **inference_errors(*INFERENCE_PROBLEMS)},
    openapi_extra=inference_body(tensors.InferenceRequest.model_json_schema()),
)
async def infer(
    request: Request,
    service: ServiceOf,
    _place: Place,
    json_length: Annotated[
        str | None, Header(alias=tensors.JSON_LENGTH, description="How many bytes of the body are JSON.")
    ] = None,
) -> Response:
    """Outputs for films that the client has decoded: greyscale, upright, squashed to the model's square."""
    try:
        with tracing.span("receive"):
            body = await request.body()
            tracing.note(bytes=len(body))
    except ClientDisconnect as error:
        raise ClientGone("The client went away while sending.") from error
    service.admission.judge_wait()
    encoding = request.headers.get("content-encoding", "").strip().lower()
    return await unless_gone(request, _infer(request, service, body, json_length, encoding))


async def _infer(
    request: Request, service: Service, body: bytes, json_length: str | None, encoding: str
) -> Response:
    classifier, settings = service.classifier, service.settings
    stages = service.metrics.stage_seconds

    def read() -> tuple[tensors.Inference, list[Exposure]]:
        plain = tensors.inflate(body, encoding, max_bytes=settings.max_upload_bytes)
        inference = tensors.parse(
            plain,
            json_length,
            size=classifier.input_size,
            max_films=settings.max_files,
            known_outputs=classifier.output_names,
        )
        return inference, [measure_exposure(film) for film in inference.pixels]

    started = time.perf_counter()
    with tracing.span("decode"):
        inference, exposures = await service.decoders.run(read)
        tracing.note(films=len(inference.pixels))
    stages.labels("decode").observe(time.perf_counter() - started)
    service.charge(request.scope, len(inference.pixels), known=1)
    answers = await _answers(service, inference.pixels, exposures)
    started = time.perf_counter()
    with tracing.span("encode"):
        of_films = [answer.outputs.named() for answer in answers]
        outputs = {name: np.concatenate([film[name] for film in of_films]) for name in inference.binary}
        content, length = tensors.write(
            inference, outputs, name=classifier.manifest.name, version=classifier.manifest.version
        )
    stages.labels("encode").observe(time.perf_counter() - started)
    if length is None:
        return Response(content, media_type="application/json")
    headers = {tensors.JSON_LENGTH: str(length)}
    return Response(content, headers=headers, media_type="application/octet-stream")


async def _answers(service: Service, films: tensors.Pixels, exposures: list[Exposure]) -> list[Answer]:
    """All answers, in order; the first failure ends the others and is raised."""
    owner = object()
    turns = asyncio.Semaphore(service.batcher.room)

    async def one(film: tensors.Pixels, exposure: Exposure) -> Answer:
        async with turns:
            _, answer = await judge(service, film, exposure, owner=owner)
            return answer

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(one(film, exposure))
                for film, exposure in zip(films, exposures, strict=True)
            ]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
