import base64
import io
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image

from app.api.errors import ALL_KINDS
from tests.app.live import Live

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def document(live: Live) -> dict[str, Any]:
    answer: dict[str, Any] = live.client.get("/openapi.json").json()
    return answer


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_route_has_a_summary_and_its_errors_an_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        for status, answer in operation["responses"].items():
            if int(status) < 400:
                continue
            ((media_type, content),) = answer["content"].items()
            of_protocol = name.partition(" ")[2].startswith("/v2")
            assert media_type == ("application/json" if of_protocol else "application/problem+json"), name
            for code, example in content["examples"].items():
                assert ALL_KINDS[code].status == int(status)
                if of_protocol:
                    assert list(example["value"]) == ["error"]
                else:
                    assert example["value"]["code"] == code
                    assert example["value"]["status"] == int(status)


def examples_of(content: dict[str, Any]) -> list[Any]:
    alone = [content["example"]] if "example" in content else []
    return alone + [item["value"] for item in content.get("examples", {}).values()]


def closed(components: dict[str, Any]) -> dict[str, Any]:
    """The schemas with no room for a property that they do not describe."""
    schemas = {
        name: {"additionalProperties": False, **schema} if "properties" in schema else schema
        for name, schema in components["schemas"].items()
    }
    return {"schemas": schemas}


def test_every_answer_has_an_example_that_fits_its_schema_and_nothing_else(document: dict[str, Any]) -> None:
    components = closed(document["components"])
    for name, operation in operations(document):
        assert {"200"} < set(operation["responses"]), name
        for status, answer in operation["responses"].items():
            assert answer["content"], (name, status)
            for media_type, content in answer["content"].items():
                if content["schema"].get("format") == "binary":
                    assert not media_type.endswith(("json", "plain")), name
                    continue
                assert examples_of(content), (name, status, media_type)
                for example in examples_of(content):
                    jsonschema.validate(example, {**content["schema"], "components": components})


def test_an_example_with_a_property_that_is_not_described_would_be_found(document: dict[str, Any]) -> None:
    (answer,) = document["paths"]["/health/live"]["get"]["responses"]["200"]["content"].values()
    schema = {**answer["schema"], "components": closed(document["components"])}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**answer["example"], "misspelt": 1}, schema)


def test_a_problem_that_asks_for_patience_is_described_with_retry_after(document: dict[str, Any]) -> None:
    described = 0
    for name, operation in operations(document):
        for status in {"429", "503"} & set(operation["responses"]):
            header = operation["responses"][status]["headers"]["Retry-After"]
            jsonschema.validate(header["example"], header["schema"])
            assert header["description"], name
            described += 1
    assert described >= 10


def test_predictions_are_shown_in_all_their_kinds(document: dict[str, Any]) -> None:
    def shown(path: str) -> list[Any]:
        content = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]
        return examples_of(content)

    alone = shown("/predict")
    assert {prediction["label"] for prediction in alone} == {"PNEUMONIA", "NORMAL"}
    for prediction in alone:
        above = prediction["probability"] >= prediction["threshold"]
        assert prediction["label"] == ("PNEUMONIA" if above else "NORMAL")
        assert prediction["review"] == bool(prediction["reasons"])
        kinds = prediction["subtypes"]
        assert kinds["bacterial"] + kinds["viral"] == pytest.approx(prediction["probability"], abs=2e-6)
    assert any(prediction["review"] for prediction in alone)
    (overlay,) = [prediction["overlay"] for prediction in alone if "overlay" in prediction]
    head, _, png = overlay.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        picture.load()
    (batch,) = shown("/predict/batch")
    assert {"label" in item for item in batch} == {True, False}, "predictions and a problem"


def test_real_answers_fit_the_schemas(live: Live, document: dict[str, Any], film: bytes) -> None:
    def fits(answer: Any, path: str, method: str = "post") -> None:
        responses = document["paths"][path][method]["responses"]
        content = responses[str(answer.status_code)]["content"]
        schema = content[answer.headers["content-type"]]["schema"]
        jsonschema.validate(answer.json(), {**schema, "components": document["components"]})

    for files in ({"file": film}, {"file": b""}, {"file": b"text"}, {"wrong": film}):
        fits(live.client.post("/predict", files=files), "/predict")
    fits(live.client.post("/predict?explain=true", files={"file": film}), "/predict")
    batch = [("files", film), ("files", b"")]
    fits(live.client.post("/predict/batch", files=batch), "/predict/batch")
    for path in ("/model", "/health/live", "/health/ready", "/v2", "/v2/health/live", "/v2/health/ready"):
        fits(live.client.get(path), path, "get")
    for path in ("", "/ready", "/config"):
        for model in ("tiny", "other"):
            fits(live.client.get(f"/v2/models/{model}{path}"), f"/v2/models/{{model}}{path}", "get")
    pixels = {"name": "pixels", "datatype": "UINT8", "shape": [1, 32, 32], "data": [0] * 1024}
    for inputs in ([pixels], []):
        path = "/v2/models/tiny/versions/1/infer"
        fits(live.client.post(path, json={"inputs": inputs}), "/v2/models/{model}/versions/{version}/infer")


def test_forms_are_described_so_that_clients_can_be_made(document: dict[str, Any]) -> None:
    for path, field in (
        ("/predict", "file"),
        ("/explain", "file"),
        ("/film", "file"),
        ("/predict/batch", "files"),
    ):
        form = document["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert form["required"] == [field]


def test_an_inference_request_is_described_so_that_clients_can_be_made(document: dict[str, Any]) -> None:
    body = document["paths"]["/v2/models/{model}/infer"]["post"]["requestBody"]["content"]
    schema = body["application/json"]["schema"]
    jsonschema.validate(body["application/json"]["example"], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"inputs": []}, schema)
    assert body["application/octet-stream"]["schema"]["format"] == "binary"


def test_every_parameter_of_a_path_is_described(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        described = {item["name"] for item in operation.get("parameters", []) if item["in"] == "path"}
        assert described == set(re.findall(r"{(\w+)}", name)), name


def test_every_route_is_documented_and_nothing_else(document: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    documented = set(re.findall(r"^### `((?:GET|POST) /\S*)`$", page, re.MULTILINE))
    assert documented == {name for name, _ in operations(document)} | {
        "GET /",
        "GET /docs",
        "GET /openapi.json",
    }


def test_every_problem_is_documented_with_its_status_and_nothing_else() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    documented = dict(re.findall(r"^### `([a-z-]+)` \((\d{3})\)$", page, re.MULTILINE))
    assert documented == {code: str(kind.status) for code, kind in ALL_KINDS.items()}
