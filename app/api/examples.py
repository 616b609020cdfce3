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
)
"""What can be wrong with one film."""
