"""What is compared: how each is started, how it is asked, and where its answer says the probability."""

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.load import Request

OWN = "pneumoscope"
BARE = "bare"


@dataclass(frozen=True, slots=True)
class Target:
    """One server. `{port}` in its arguments is the port to listen on.

    `requirements` names a file in `benchmarks/peers`, empty for what runs in this environment; `versions` are the
    packages worth naming on the page.
    """

    name: str
    title: str
    arguments: tuple[str, ...]
    request: Callable[[bytes], Request]
    probability: Callable[[Any], float]
    requirements: str = ""
    versions: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    same_model: bool = True


def multipart(film: bytes) -> Request:
    """The film as the form field `file` of a POST to /predict."""
    request = httpx.Request("POST", "http://localhost/predict", files={"file": ("film", film)})
    return Request("/predict", {"Content-Type": request.headers["Content-Type"]}, request.read())


def multipart_jpeg(film: bytes) -> Request:
    """The same with its kind named, which BentoML demands of pictures."""
    file = ("film.jpg", film, "image/jpeg")
    request = httpx.Request("POST", "http://localhost/predict", files={"file": file})
    return Request("/predict", {"Content-Type": request.headers["Content-Type"]}, request.read())


def infer(film: bytes) -> Request:
    """The film as the one element of a BYTES tensor, by the binary extension of the V2 protocol."""
    tensor = struct.pack("<I", len(film)) + film
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "film",
                    "shape": [1, 1],
                    "datatype": "BYTES",
                    "parameters": {"binary_data_size": len(tensor)},
                }
            ],
            "outputs": [{"name": "probability", "parameters": {"binary_data": False}}],
        }
    ).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(header)),
    }
    return Request("/v2/models/pneumonia/infer", headers, header + tensor)


def _field(answer: Any) -> float:
    return float(answer["probability"])


def _peer(name: str) -> tuple[str, ...]:
    return ("-m", f"benchmarks.peers.{name}")


TARGETS = {
    target.name: target
    for target in (
        Target(OWN, "Pneumoscope", ("-m", "app"), multipart, _field),
        Target(
            "fastapi",
            "FastAPI + ONNX Runtime",
            _peer("fastapi_onnx"),
            multipart,
            _field,
            requirements="fastapi_onnx.txt",
            versions=("fastapi", "onnxruntime"),
        ),
        Target(
            "keras",
            "FastAPI + Keras",
            _peer("fastapi_keras"),
            multipart,
            _field,
            requirements="fastapi_keras.txt",
            versions=("fastapi", "keras", "tensorflow-cpu"),
            environment={"TF_CPP_MIN_LOG_LEVEL": "2"},
            same_model=False,
        ),
        Target(
            "litserve",
            "LitServe",
            _peer("litserve_api"),
            multipart,
            _field,
            requirements="litserve_api.txt",
            versions=("litserve",),
        ),
        Target(
            "ray",
            "Ray Serve",
            _peer("ray_serve"),
            multipart,
            _field,
            requirements="ray_serve.txt",
            versions=("ray",),
            environment={
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_AUTH_MODE": "disabled",
            },
        ),
        Target(
            "bentoml",
            "BentoML",
            (
                *("-m", "bentoml", "serve", "benchmarks.peers.bentoml_service:Pneumonia"),
                *("--host", "127.0.0.1", "--port", "{port}"),
            ),
            multipart_jpeg,
            lambda answer: float(answer[0] if isinstance(answer, list) else answer),
            requirements="bentoml_service.txt",
            versions=("bentoml",),
            environment={"BENTOML_DO_NOT_TRACK": "True"},
        ),
        Target(
            "pytriton",
            "PyTriton",
            _peer("pytriton_server"),
            infer,
            lambda answer: float(answer["outputs"][0]["data"][0]),
            requirements="pytriton_server.txt",
            versions=("nvidia-pytriton",),
        ),
    )
}
