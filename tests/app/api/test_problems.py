from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.api import errors
from app.api.errors import ALL_KINDS, EXPECTED, KINDS, kind_of
from app.engine.errors import DeviceFailed, QueueFull
from app.settings import Settings
from tests import radiographs, tiny_model
from tests.app.live import Gate, Live, running, wait_until

ROOT = Path(__file__).parents[3]


def family(base: type[Exception]) -> Iterator[type[Exception]]:
    for child in base.__subclasses__():
        yield child
        yield from family(child)


LEAVES = [error for base in EXPECTED for error in family(base)]


@pytest.mark.parametrize("error", LEAVES, ids=lambda error: error.__name__)
def test_every_exception_of_ours_is_in_the_table(error: type[Exception]) -> None:
    assert error in KINDS


def test_the_table_holds_nothing_else() -> None:
    assert set(KINDS) == set(LEAVES)


@pytest.mark.parametrize(
    "module",
    ["app/api/errors.py", "app/engine/errors.py", "app/imaging/errors.py", "app/reporting/errors.py"],
)
def test_the_tree_at_the_top_of_the_file_is_the_tree_of_its_classes(module: str) -> None:
    head = (ROOT / module).read_text().split('"""')[1]
    drawn = {
        line.lstrip("│ ").split()[1]
        for line in head.splitlines()
        if line.lstrip("│ ").startswith(("├── ", "└── "))
    }
    name = module.removesuffix(".py").replace("/", ".")
    assert drawn == {error.__name__ for error in LEAVES if error.__module__ == name}


def test_codes_are_unique_and_statuses_are_errors() -> None:
    kinds = [*KINDS.values(), *errors.STATUS_KINDS.values(), errors.INTERNAL, errors.INVALID_REQUEST]
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert all(400 <= kind.status < 600 for kind in kinds)


def test_a_subclass_is_answered_like_its_nearest_listed_ancestor() -> None:
    class Special(DeviceFailed):
        pass

    try:
        assert kind_of(Special("x")) is KINDS[DeviceFailed]
    finally:
        del Special


def test_a_failure_on_our_side_tells_nothing_of_its_cause() -> None:
    error = DeviceFailed("CUDA error at /srv/secret/path")
    assert "secret" not in errors.detail_of(error, kind_of(error))
    assert errors.retry_after(QueueFull(7), kind_of(QueueFull(7))) == 7


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("GET", "/assets/nowhere.js", 404, "not-found"),
        ("GET", "/predict", 405, "method-not-allowed"),
        ("DELETE", "/model", 405, "method-not-allowed"),
        ("POST", "/predict?explain=maybe", 422, "invalid-request"),
        ("GET", "/problems/nothing", 404, "unknown-problem"),
    ],
)
def test_what_the_framework_finds_is_a_problem_document_too(
    live: Live, film: bytes, method: str, path: str, status: int, code: str
) -> None:
    answer = live.client.request(method, path, files={"file": film} if method == "POST" else None)
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
    assert body["request_id"] == answer.headers["x-request-id"]
    if status == 405:
        assert answer.headers["allow"]
    if code == "invalid-request":
        assert body["errors"][0]["where"] == "query.explain"
        assert "maybe" not in answer.text


@pytest.mark.parametrize("code", sorted(ALL_KINDS))
def test_a_problems_type_leads_to_its_explanation(live: Live, code: str) -> None:
    explained = live.client.get(f"/problems/{code}").json()
    assert explained["status"] == ALL_KINDS[code].status
    assert explained["advice"]


@pytest.mark.parametrize(
    "path", ["/nowhere", "/assets/nowhere", "/assets/swagger/nowhere", "/assets/v2/nowhere"]
)
def test_the_type_of_whatever_is_missing_leads_to_its_explanation(live: Live, path: str) -> None:
    missing = live.client.get(path).json()
    assert missing["type"] == "/problems/not-found"
    assert live.client.get(missing["type"]).json()["code"] == "not-found"


@pytest.mark.parametrize("path", ["/nowhere", "/assets/nowhere"])
def test_the_type_is_found_behind_a_proxy(tiny_folder: Path, path: str) -> None:
    with running(Settings(model_dir=tiny_folder, root_path="/ward/xray")) as live:
        assert live.client.get(path).json()["type"] == "/ward/xray/problems/not-found"


def test_a_failed_device_is_a_503_and_the_next_film_is_answered(
    gated_live: tuple[Live, Gate], film: bytes
) -> None:
    live, gate = gated_live
    gate.broken = True
    answer = live.predict(film)
    assert (answer.status_code, answer.json()["code"]) == (503, "device-failed")
    assert "bus" not in answer.text
    assert int(answer.headers["retry-after"]) >= 1
    gate.broken = False
    wait_until(lambda: live.service.ready, "the device is found to work again")
    assert live.predict(film).status_code == 200


def test_a_nan_is_a_failure_and_never_a_finding(model_folder: Path, film: bytes) -> None:
    (model_folder / "model.onnx").write_bytes(tiny_model.build(nan="for dark films"))
    black = radiographs.png(np.zeros((40, 40), np.uint8))
    with running(Settings(model_dir=model_folder, max_batch=1)) as live:
        answer = live.predict(black)
        assert (answer.status_code, answer.json()["code"]) == (503, "device-failed")
        assert live.predict(film).status_code == 200


def test_an_unexpected_exception_is_a_500_without_a_trace(
    tiny_folder: Path, film: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a secret of the film")

    monkeypatch.setattr("app.api.reading.read", broken)
    with running(Settings(model_dir=tiny_folder)) as live:
        answer = live.predict(film)
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert answer.headers["x-request-id"] == answer.json()["request_id"]
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text
        assert live.client.get("/health/live").status_code == 200
    assert any(record.message == "an unexpected exception" for record in caplog.records)
