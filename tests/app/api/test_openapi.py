import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

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


def test_examples_fit_their_schemas(document: dict[str, Any]) -> None:
    checked = 0
    for _, operation in operations(document):
        for answer in operation["responses"].values():
            for content in answer.get("content", {}).values():
                examples = [item["value"] for item in content.get("examples", {}).values()]
                examples += [content["example"]] if "example" in content else []
                schema = {**content["schema"], "components": document["components"]}
                for example in examples:
                    jsonschema.validate(example, schema)
                    checked += 1
    assert checked > 20


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
    for path, field in (("/predict", "file"), ("/explain", "file"), ("/predict/batch", "files")):
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
