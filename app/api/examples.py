"""What OpenAPI shows: the form that is sent, and an example of each answer and each problem."""

from typing import Any

from app.api.errors import ALL_KINDS, Kind
from app.api.problems import MEDIA_TYPE

_SHA256 = "0" * 64

PREDICTION: dict[str, Any] = {
    "id": "6f1f8d5b0c0f4e0f9a6f0b4b6d3f2a11",
    "label": "PNEUMONIA",
    "probability": 0.962113,
    "threshold": 0.41,
    "threshold_overridden": False,
    "subtypes": {"bacterial": 0.880402, "viral": 0.081711},
    "review": False,
    "reasons": [],
    "model": {"name": "pneumonia", "version": "1", "sha256": _SHA256},
    "timing_ms": {"decode": 7.8, "queue": 0.2, "inference": 24.9},
    "overlay": None,
}


def problem_example(kind: Kind) -> dict[str, Any]:
    """A problem document of `kind`."""
    return {
        "type": f"/problems/{kind.code}",
        "code": kind.code,
        "title": kind.title,
        "status": kind.status,
        "detail": kind.advice,
        "request_id": PREDICTION["id"],
    }


BATCH: list[dict[str, Any]] = [
    {**PREDICTION, "id": f"{PREDICTION['id']}-0"},
    problem_example(ALL_KINDS["unreadable-image"]),
]


def form(field: str, *, many: bool = False) -> dict[str, Any]:
    """OpenAPI of a multipart form with one file, or several, under `field`."""
    film = {"type": "string", "format": "binary", "description": "A chest film as JPEG or PNG."}
    schema = {"type": "array", "items": film, "minItems": 1} if many else film
    properties = {"type": "object", "required": [field], "properties": {field: schema}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": properties}}}}


def json_example(example: object) -> dict[str, Any]:
    """OpenAPI of a successful JSON answer that looks like `example`."""
    return {"content": {"application/json": {"example": example}}}


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI of the problems that a route answers with, gathered by status."""
    answers: dict[int | str, dict[str, Any]] = {}
    for code in (*codes, "internal"):
        kind = ALL_KINDS[code]
        answer = answers.setdefault(
            kind.status,
            {
                "description": kind.title,
                "content": {
                    MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}},
                },
            },
        )
        if kind.title not in answer["description"]:
            answer["description"] += f"; or: {kind.title}"
        answer["content"][MEDIA_TYPE]["examples"][code] = {"value": problem_example(kind)}
        if kind.status in (429, 503):
            answer["headers"] = {
                "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds until a new try."}
            }
    return answers


def inference_errors(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The same in the Open Inference Protocol's form: an object whose `error` says what is wrong."""
    answers = problems(*codes)
    for answer in answers.values():
        examples = answer["content"][MEDIA_TYPE]["examples"]
        schema = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
        said = {code: {"value": {"error": example["value"]["detail"]}} for code, example in examples.items()}
        answer["content"] = {"application/json": {"schema": schema, "examples": said}}
    return answers


def inference_body(schema: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI of the body of an inference request."""
    binary = {
        "type": "string",
        "format": "binary",
        "description": "JSON, of which Inference-Header-Content-Length bytes, and the films' bytes behind it.",
    }
    content = {
        "application/json": {"schema": schema, "example": INFERENCE_REQUEST},
        "application/octet-stream": {"schema": binary},
    }
    return {"requestBody": {"required": True, "content": content}}


MODEL_METADATA: dict[str, Any] = {
    "name": "pneumonia",
    "versions": ["1"],
    "platform": "onnxruntime_onnx",
    "inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 224, 224]}],
    "outputs": [
        {"name": "heatmap", "datatype": "FP32", "shape": [-1, 7, 7]},
        {"name": "probability", "datatype": "FP32", "shape": [-1]},
    ],
}

MODEL_CONFIG: dict[str, Any] = {
    "name": "pneumonia",
    "platform": "onnxruntime_onnx",
    "backend": "onnxruntime",
    "max_batch_size": 32,
    "input": [{"name": "pixels", "data_type": "TYPE_UINT8", "dims": [224, 224]}],
    "output": [
        {"name": "heatmap", "data_type": "TYPE_FP32", "dims": [7, 7]},
        {"name": "probability", "data_type": "TYPE_FP32", "dims": [1], "reshape": {"shape": []}},
    ],
}

INFERENCE_REQUEST: dict[str, Any] = {
    "inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, 224, 224], "data": [[[0, 17, 255]]]}],
    "outputs": [{"name": "probability"}],
}
"""Its `data` is cut short: there are 224 × 224 levels."""

INFERENCE: dict[str, Any] = {
    "model_name": "pneumonia",
    "model_version": "1",
    "outputs": [{"name": "probability", "datatype": "FP32", "shape": [1], "data": [0.9621132016181946]}],
}

UPLOAD_PROBLEMS = (
    "malformed-form",
    "host-refused",
    "key-refused",
    "upload-too-slow",
    "body-too-large",
    "too-many-files",
    "field-missing",
    "overloaded",
    "not-ready",
    "draining",
    "stopped",
)
"""What can be wrong with any upload before a film is looked at."""

FILM_PROBLEMS = (
    "unreadable-image",
    "too-many-pixels",
    "unsupported-image",
    "queue-full",
    "device-failed",
    "out-of-device-memory",
)
"""What can be wrong with one film."""

INFERENCE_PROBLEMS = (
    "host-refused",
    "key-refused",
    "unknown-model",
    "inference-refused",
    "invalid-request",
    "upload-too-slow",
    "body-too-large",
    "too-many-files",
    "overloaded",
    "queue-full",
    "not-ready",
    "draining",
    "stopped",
    "device-failed",
    "out-of-device-memory",
)
"""What can be wrong with an inference request."""
