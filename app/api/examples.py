"""What OpenAPI shows: the form that is sent, and an example of each answer and each problem."""

from typing import Any

from app.api.errors import ALL_KINDS, INVALID_REQUEST, Kind
from app.api.problems import MEDIA_TYPE

_SHA256 = "0" * 64

FILM_TYPES = "image/jpeg, image/png, application/dicom"

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

BELOW_THRESHOLD: dict[str, Any] = {
    **PREDICTION,
    "label": "NORMAL",
    "probability": 0.031207,
    "subtypes": {"bacterial": 0.011902, "viral": 0.019305},
}

FOR_REVIEW: dict[str, Any] = {
    **PREDICTION,
    "probability": 0.538114,
    "subtypes": {"bacterial": 0.201377, "viral": 0.336737},
    "review": True,
    "reasons": [
        {
            "code": "uncertain",
            "words": "The probability lies between 0.20 and 0.97, where the model cannot tell the labels apart "
            "reliably.",
        },
        {
            "code": "exposure",
            "words": "The film is darker than the films that the model was trained on.",
        },
    ],
}

WITH_HEAT_MAP: dict[str, Any] = {
    **PREDICTION,
    "overlay": "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==",
}


def problem_example(kind: Kind) -> dict[str, Any]:
    """A problem document of `kind`."""
    example: dict[str, Any] = {
        "type": f"/problems/{kind.code}",
        "code": kind.code,
        "title": kind.title,
        "status": kind.status,
        "detail": kind.advice,
        "request_id": PREDICTION["id"],
    }
    if kind is INVALID_REQUEST:
        example["errors"] = [
            {
                "where": "query.explain",
                "message": "Input should be a valid boolean, unable to interpret input",
            }
        ]
    return example


BATCH: list[dict[str, Any]] = [
    {**PREDICTION, "id": f"{PREDICTION['id']}-0"},
    problem_example(ALL_KINDS["unreadable-image"]),
    {**FOR_REVIEW, "id": f"{PREDICTION['id']}-2"},
]


def form(field: str, *, many: bool = False) -> dict[str, Any]:
    """OpenAPI of a multipart form with one file, or several, under `field`."""
    film = {"type": "string", "format": "binary", "description": "A chest film as JPEG, PNG or DICOM."}
    schema = {"type": "array", "items": film, "minItems": 1} if many else film
    content: dict[str, Any] = {
        "schema": {"type": "object", "required": [field], "properties": {field: schema}},
    }
    if not many:
        content["encoding"] = {field: {"contentType": FILM_TYPES}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": content}}}


def json_example(example: object) -> dict[str, Any]:
    """OpenAPI of a successful JSON answer that looks like `example`."""
    return {"content": {"application/json": {"example": example}}}


def json_examples(**examples: object) -> dict[str, Any]:
    """OpenAPI of a successful JSON answer that looks like one of `examples`, each by its name in words."""
    named = {name: {"summary": name.replace("_", " "), "value": value} for name, value in examples.items()}
    return {"content": {"application/json": {"examples": named}}}


def or_dicom(what: str) -> dict[str, Any]:
    """OpenAPI of a DICOM file as the answer, for those who ask for one by Accept."""
    schema = {"type": "string", "format": "binary", "description": what}
    return {"application/dicom": {"schema": schema}}


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
                "Retry-After": {
                    "schema": {"type": "integer"},
                    "example": 2,
                    "description": "Seconds until a new try.",
                }
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
    """OpenAPI of the body of an inference request, by its JSON schema."""
    content = {
        "application/json": {"schema": _in_one_piece(schema), "example": INFERENCE_REQUEST},
        "application/octet-stream": {"schema": _binary("films")},
    }
    return {"requestBody": {"required": True, "content": content}}


def inference_answer() -> dict[str, Any]:
    """OpenAPI of the answer to an inference request."""
    content = {
        "application/json": {"example": INFERENCE},
        "application/octet-stream": {"schema": _binary("outputs")},
    }
    return {"content": content}


def _in_one_piece(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with its definitions in place of what refers to them: inside a document they are not found."""
    definitions = schema.get("$defs", {})

    def inlined(value: Any) -> Any:
        if isinstance(value, list):
            return [inlined(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return inlined(definitions[value["$ref"].rpartition("/")[2]])
        return {key: inlined(item) for key, item in value.items() if key != "$defs"}

    whole: dict[str, Any] = inlined(schema)
    return whole


def _binary(what: str) -> dict[str, Any]:
    return {
        "type": "string",
        "format": "binary",
        "description": f"JSON, of which Inference-Header-Content-Length bytes, and the {what}' bytes behind it.",
    }


SERVED_MODEL: dict[str, Any] = {
    "manifest": {
        "schema_version": 1,
        "name": "pneumonia",
        "version": "1",
        "created": "2026-01-31T12:00:00Z",
        "architecture": "resnet50",
        "precision": "int8",
        "labels": ["NORMAL", "PNEUMONIA"],
        "input_size": 224,
        "threshold": {
            "value": 0.41,
            "rule": "the largest whose sensitivity's lower 95 % bound reaches 0.95 on the held-out fold",
            "target_sensitivity": 0.95,
            "sensitivity": {"value": 0.965, "low": 0.950, "high": 0.978},
            "specificity": {"value": 0.978, "low": 0.960, "high": 0.993},
        },
        "calibration": {
            "temperature": 0.496,
            "prevalence": 0.743,
            "expected_calibration_error": 0.009,
            "brier_score": 0.020,
            "uncalibrated_error": 0.100,
            "uncalibrated_brier_score": 0.045,
        },
        "uncertainty": {"low": 0.2, "high": 0.97, "coverage": 0.99, "share_of_films": 0.1},
        "novelty": {"limit": 2.1, "share_of_films": 0.011, "method": "Mahalanobis distance"},
        "exposure": {"brightness_low": 69.5, "brightness_high": 177.3, "contrast_low": 88.9},
        "evaluation": {
            "held_out_fold": {
                "films": 1042,
                "normal": 268,
                "pneumonia": 774,
                "patients": 357,
                "accuracy": {"value": 0.968, "low": 0.957, "high": 0.979},
                "sensitivity": {"value": 0.965, "low": 0.950, "high": 0.978},
                "specificity": {"value": 0.978, "low": 0.960, "high": 0.993},
                "precision": {"value": 0.992, "low": 0.985, "high": 0.997},
                "f1": {"value": 0.978, "low": 0.970, "high": 0.986},
                "auc": {"value": 0.997, "low": 0.995, "high": 0.998},
                "average_precision": {"value": 0.999, "low": 0.998, "high": 0.999},
                "true_negatives": 262,
                "false_positives": 6,
                "false_negatives": 27,
                "true_positives": 747,
                "slices": {"specificity_hard_normal": {"value": 0.887, "low": 0.796, "high": 0.965}},
            }
        },
        "training": {
            "command": "python -m training fit --data chest_xray",
            "data": {
                "name": "Chest X-Ray Images (Pneumonia)",
                "source": "https://data.mendeley.com/datasets/rscbjbr9sj/2",
                "licence": "CC BY 4.0",
                "films": 4166,
                "films_sha256": _SHA256,
            },
            "folds": 5,
            "held_out_fold": 0,
            "seed": 0,
            "libraries": {"keras": "3.15.0"},
        },
        "licence": "Apache-2.0",
        "intended_use": "Research and teaching; a reader decides.",
    },
    "sha256": _SHA256,
    "provider": "cpu",
    "provider_reason": "the installed onnxruntime is built without CUDA",
    "precision": "int8",
    "threshold": 0.41,
    "threshold_overridden": False,
    "heatmap": True,
}

PROBLEM_KIND: dict[str, Any] = {
    "code": "overloaded",
    "status": 429,
    "title": "Too many films at once",
    "advice": "Try again after the seconds in Retry-After.",
}

METRICS = """\
# HELP pneumoscope_in_flight Requests being answered.
# TYPE pneumoscope_in_flight gauge
pneumoscope_in_flight 3.0
# HELP pneumoscope_predictions_total Films answered.
# TYPE pneumoscope_predictions_total counter
pneumoscope_predictions_total{label="PNEUMONIA",review="false"} 128.0
"""
"""Of many lines."""

SERVER_METADATA: dict[str, Any] = {
    "name": "pneumoscope",
    "version": "0.1.0",
    "extensions": ["binary_tensor_data", "model_configuration"],
}


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
    "rate-exceeded",
    "key-refused",
    "upload-too-slow",
    "body-too-large",
    "too-many-files",
    "field-missing",
    "overloaded",
    "not-ready",
    "device-lost",
    "draining",
    "stopped",
)
"""What can be wrong with any upload before a film is looked at."""

DECODING_PROBLEMS = (
    "unreadable-image",
    "too-many-pixels",
    "unsupported-image",
    "unsuitable-film",
    "out-of-memory",
)
"""What can be wrong with one film's file."""

FILM_PROBLEMS = (*DECODING_PROBLEMS, "queue-full", "device-failed", "out-of-device-memory")
"""What can be wrong with one film."""

DICOM_PROBLEMS = ("no-dicom-result", "film-unidentified", "own-result", "dicom-missing")
"""Why a film that can be judged has no DICOM result."""

INFERENCE_PROBLEMS = (
    "host-refused",
    "rate-exceeded",
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
    "device-lost",
    "draining",
    "stopped",
    "device-failed",
    "out-of-device-memory",
)
"""What can be wrong with an inference request."""
