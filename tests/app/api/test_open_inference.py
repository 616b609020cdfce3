"""The Open Inference Protocol, asked by Triton's own clients and by hand."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

import app
from app.api.tensors import JSON_LENGTH
from app.keys import entry_of
from app.settings import Settings
from tests import tiny_model
from tests.app.live import Gate, Live, running, wait_until

SIZE = tiny_model.SIZE
INFER = "/v2/models/tiny/infer"
OUTPUTS = ["classes", "heatmap", "novelty", "probability"]

Pixels = npt.NDArray[np.uint8]


def films(count: int) -> Pixels:
    return np.random.default_rng(count).integers(90, 170, (count, SIZE, SIZE), dtype=np.uint8)


def address(live: Live) -> str:
    return live.url.removeprefix("http://")


@pytest.fixture
def client(live: Live) -> Iterator[Any]:
    with triton.InferenceServerClient(address(live)) as opened:
        yield opened


def expected(live: Live, pixels: Pixels) -> dict[str, npt.NDArray[np.float32]]:
    """What the model file itself answers."""
    return live.service.classifier.run(pixels).named()


def tensor(library: Any, pixels: Pixels, *, binary: bool) -> Any:
    given = library.InferInput("pixels", list(pixels.shape), "UINT8")
    given.set_data_from_numpy(pixels, binary_data=binary)
    return given


def body(pixels: Pixels, **changes: Any) -> dict[str, Any]:
    """A request in JSON, with what is to be changed in its input."""
    given = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape), "data": pixels.tolist()}
    return {"inputs": [given | changes]}


def with_bytes(head: dict[str, Any], raw: bytes) -> dict[str, Any]:
    """Content and headers of a request whose pixels lie behind its JSON."""
    text = json.dumps(head).encode()
    return {"content": text + raw, "headers": {JSON_LENGTH: str(len(text))}}


def test_the_server_and_its_model_introduce_themselves(client: Any, live: Live) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    server = client.get_server_metadata()
    assert (server["name"], server["version"]) == ("pneumoscope", app.__version__)
    assert "binary_tensor_data" in server["extensions"]
    for version in ("", "1"):
        assert client.is_model_ready("tiny", version)
        model = client.get_model_metadata("tiny", version)
        assert (model["name"], model["versions"]) == ("tiny", ["1"])
        assert model["inputs"] == [{"name": "pixels", "datatype": "UINT8", "shape": [-1, SIZE, SIZE]}]
        assert model["outputs"] == [
            {"name": "classes", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "heatmap", "datatype": "FP32", "shape": [-1, 4, 4]},
            {"name": "novelty", "datatype": "FP32", "shape": [-1]},
            {"name": "probability", "datatype": "FP32", "shape": [-1]},
        ]
        config = client.get_model_config("tiny", version)
        assert config["max_batch_size"] == live.service.settings.max_files
        assert config["input"] == [{"name": "pixels", "data_type": "TYPE_UINT8", "dims": [SIZE, SIZE]}]
        assert config["output"][-1] == {
            "name": "probability", "data_type": "TYPE_FP32", "dims": [1], "reshape": {"shape": []},
        }  # fmt: skip


@pytest.mark.parametrize("count", [1, 3, 9])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_outputs_are_those_of_the_model_file(
    client: Any, live: Live, count: int, binary_in: bool, binary_out: bool
) -> None:
    pixels = films(count)
    answer = client.infer(
        "tiny",
        [tensor(triton, pixels, binary=binary_in)],
        request_id="ward-7",
        outputs=[triton.InferRequestedOutput(name, binary_data=binary_out) for name in OUTPUTS],
    )
    response = answer.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("ward-7", "tiny", "1")
    assert [output["name"] for output in response["outputs"]] == OUTPUTS
    assert all(("data" in output) is not binary_out for output in response["outputs"])
    for name, values in expected(live, pixels).items():
        given = answer.as_numpy(name)
        assert given.dtype == np.float32
        assert np.array_equal(given, values), name


def test_without_a_list_of_outputs_all_of_them_come(client: Any, live: Live) -> None:
    answer = client.infer("tiny", [tensor(triton, films(2), binary=True)], model_version="1")
    for name, values in expected(live, films(2)).items():
        assert np.array_equal(answer.as_numpy(name), values)


def test_the_asyncio_client_gets_the_same(live: Live) -> None:
    async def ask() -> list[Any]:
        async with triton_aio.InferenceServerClient(address(live)) as client:
            assert await client.is_server_ready()
            assert await client.is_model_ready("tiny")
            assert (await client.get_model_metadata("tiny"))["name"] == "tiny"
            return list(
                await asyncio.gather(
                    *(
                        client.infer("tiny", [tensor(triton_aio, films(count), binary=binary)])
                        for count in (1, 2, 5)
                        for binary in (True, False)
                    )
                )
            )

    answers = asyncio.run(ask())
    for answer, count in zip(answers, (1, 1, 2, 2, 5, 5), strict=True):
        assert np.array_equal(answer.as_numpy("heatmap"), expected(live, films(count))["heatmap"])


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_a_compressed_request_is_read(client: Any, live: Live, algorithm: str, binary: bool) -> None:
    answer = client.infer(
        "tiny",
        [tensor(triton, films(2), binary=binary)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert np.array_equal(answer.as_numpy("probability"), expected(live, films(2))["probability"])


def test_levels_may_be_flat_or_nested(live: Live) -> None:
    for data in (films(2).tolist(), films(2).reshape(2, -1).tolist(), films(2).ravel().tolist()):
        answer = live.client.post(INFER, json=body(films(2), data=data)).json()
        (probability,) = (output for output in answer["outputs"] if output["name"] == "probability")
        assert probability["shape"] == [2]
        assert np.array_equal(np.float32(probability["data"]), expected(live, films(2))["probability"])


def test_a_film_gets_the_probability_of_the_upload(live: Live) -> None:
    from tests import radiographs

    pixels = films(1)
    uploaded = live.predict(radiographs.png(pixels[0])).json()["probability"]
    answer = live.client.post(INFER, json=body(pixels) | {"outputs": [{"name": "probability"}]}).json()
    assert round(answer["outputs"][0]["data"][0], 6) == uploaded


GOOD = films(1)
RAW = {"parameters": {"binary_data_size": SIZE * SIZE}}
NO_DATA = {"name": "pixels", "datatype": "UINT8", "shape": [1, SIZE, SIZE], **RAW}
PIXELS_BEHIND = {"inputs": [NO_DATA]}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no body": ({"content": b""}, "not JSON"),
    "no JSON": ({"content": b"pixels"}, "not JSON"),
    "not an object": ({"json": [1]}, "object"),
    "nested without end": ({"content": b"[" * 3000}, "not JSON"),
    "no inputs": ({"json": {}}, "inputs: Field required"),
    "an empty list of inputs": ({"json": {"inputs": []}}, "inputs: List should have at least 1 item"),
    "two inputs": ({"json": {"inputs": body(GOOD)["inputs"] * 2}}, "inputs: List should have at most 1 item"),
    "another name": ({"json": body(GOOD, name="image")}, "inputs.0.name: Input should be 'pixels'"),
    "another type": ({"json": body(GOOD, datatype="FP32")}, "inputs.0.datatype: Input should be 'UINT8'"),
    "two axes": ({"json": body(GOOD, shape=[SIZE, SIZE])}, "inputs.0.shape"),
    "another size": ({"json": body(GOOD, shape=[1, SIZE, SIZE + 1])}, f"[N, {SIZE}, {SIZE}]"),
    "no films": ({"json": body(GOOD, shape=[0, SIZE, SIZE], data=[])}, "at least one film"),
    "fewer than none": ({"json": body(GOOD, shape=[-1, SIZE, SIZE])}, "at least one film"),
    "too few levels": ({"json": body(GOOD, data=[0, 1])}, f"{SIZE * SIZE} numbers"),
    "a level too many": ({"json": body(GOOD, data=[0] * (SIZE * SIZE + 1))}, f"{SIZE * SIZE} numbers"),
    "no data": ({"json": body(GOOD, data=None)}, "'data' holds whole numbers"),
    "data of text": ({"json": body(GOOD, data="film")}, "'data' holds whole numbers"),
    "a level of 256": ({"json": body(GOOD, data=[256] * SIZE * SIZE)}, "'data' holds whole numbers"),
    "a level of -1": ({"json": body(GOOD, data=[-1] * SIZE * SIZE)}, "'data' holds whole numbers"),
    "an immense level": ({"json": body(GOOD, data=[2**80] * SIZE * SIZE)}, "'data' holds whole numbers"),
    "half a level": ({"json": body(GOOD, data=[0.5] * SIZE * SIZE)}, "'data' holds whole numbers"),
    "ragged data": ({"json": body(GOOD, data=[[0], 1])}, "'data' holds whole numbers"),
    "shared memory": (
        {"json": body(GOOD, parameters={"shared_memory_region": "x"})},
        "Shared memory is not supported",
    ),
    "an unknown output": (
        {"json": body(GOOD) | {"outputs": [{"name": "logits"}]}},
        "The model's outputs are classes, heatmap, novelty, probability.",
    ),
    "classification": (
        {"json": body(GOOD) | {"outputs": [{"name": "classes", "parameters": {"classification": 1}}]}},
        "classification",
    ),
    "truncated bytes": (with_bytes(PIXELS_BEHIND, GOOD.tobytes()[:-1]), f"{SIZE * SIZE} bytes"),
    "bytes too many": (with_bytes(PIXELS_BEHIND, GOOD.tobytes() + b"\0"), f"{SIZE * SIZE} bytes"),
    "no bytes": (with_bytes(PIXELS_BEHIND, b""), f"{SIZE * SIZE} bytes"),
    "another number of bytes": (
        with_bytes({"inputs": [NO_DATA | {"parameters": {"binary_data_size": 7}}]}, GOOD.tobytes()),
        f"{SIZE * SIZE} bytes",
    ),
    "data and bytes": (
        with_bytes({"inputs": [NO_DATA | {"data": GOOD.tolist()}]}, GOOD.tobytes()),
        "for no 'data'",
    ),
    "bytes of nobody": (with_bytes(body(GOOD), b"\0"), "bytes behind the JSON that no input asks for"),
    "a length beyond the body": ({"content": b"{}", "headers": {JSON_LENGTH: "3"}}, JSON_LENGTH),
    "a length of nothing": ({"content": b"{}", "headers": {JSON_LENGTH: "0"}}, JSON_LENGTH),
    "a length that is none": ({"content": b"{}", "headers": {JSON_LENGTH: "-2"}}, JSON_LENGTH),
    "a length of many digits": ({"content": b"{}", "headers": {JSON_LENGTH: "9" * 5000}}, JSON_LENGTH),
    "another encoding": ({"content": b"{}", "headers": {"Content-Encoding": "br"}}, "gzip or deflate"),
    "damaged gzip": ({"content": b"film", "headers": {"Content-Encoding": "gzip"}}, "damaged"),
    "truncated gzip": (
        {"content": gzip.compress(b"{}")[:-4], "headers": {"Content-Encoding": "gzip"}},
        "cut short",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_taken_is_a_400_that_says_why(live: Live, case: str) -> None:
    request, complaint = REFUSED[case]
    answer = live.client.post(INFER, **request)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    assert complaint in answer.json()["error"]
    assert live.service.admission.taken == 0


def test_the_client_shows_what_was_wrong(client: Any) -> None:
    wrong = triton.InferInput("pixels", [1, 5, 5], "UINT8")
    wrong.set_data_from_numpy(np.zeros((1, 5, 5), np.uint8))
    with pytest.raises(InferenceServerException) as refused:
        client.infer("tiny", [wrong])
    assert refused.value.status() == "400"
    assert f"[N, {SIZE}, {SIZE}]" in refused.value.message()


@pytest.mark.parametrize("path", ["", "/ready", "/config", "/infer"])
@pytest.mark.parametrize("model", ["pneumonia", "tiny/versions/2", "pneumonia/versions/1", "TINY"])
def test_another_model_or_version_is_a_404(live: Live, model: str, path: str) -> None:
    method = "POST" if path == "/infer" else "GET"
    answer = live.client.request(method, f"/v2/models/{model}{path}")
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]
    assert model.partition("/")[0] not in answer.text, "no text of the client's comes back"


def test_other_errors_have_the_protocols_form_too(live: Live) -> None:
    for method, path, status in (
        ("GET", "/v2/repository/index", 404),
        ("GET", INFER, 405),
        ("DELETE", "/v2", 405),
    ):
        answer = live.client.request(method, path)
        assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert "code" in live.client.get("/v20").json(), "and nothing else has"


def test_what_is_too_large_is_a_413(tiny_folder: Path) -> None:
    with running(Settings(model_dir=tiny_folder, max_files=2, max_upload_mb=0.01)) as live:

        def refusal(**request: Any) -> str:
            answer = live.client.post(INFER, **request)
            assert answer.status_code == 413
            return str(answer.json()["error"])

        small = {"inputs": [NO_DATA | {"shape": [2, SIZE, SIZE], "parameters": {"binary_data_size": 2048}}]}
        assert live.client.post(INFER, **with_bytes(small, bytes(2048))).status_code == 200
        assert "more films than the 2" in refusal(json=body(GOOD, shape=[3, SIZE, SIZE], data=[]))
        assert "more films than the 2" in refusal(json=body(GOOD, shape=[10**30, SIZE, SIZE], data=[]))
        assert "10,485 bytes" in refusal(content=bytes(20_000))
        for compress, encoding in ((gzip.compress, "gzip"), (zlib.compress, "deflate")):
            bomb = compress(bytes(5_000_000))
            assert len(bomb) < 10_000
            assert "10,485 bytes" in refusal(content=bomb, headers={"Content-Encoding": encoding})


def test_keys_are_asked_for_except_by_health(tiny_folder: Path) -> None:
    with running(Settings(model_dir=tiny_folder, api_keys=(entry_of("ward", "secret"),))) as live:
        with triton.InferenceServerClient(address(live)) as client:
            given = [tensor(triton, films(1), binary=True)]
            assert client.is_server_ready()
            assert client.is_model_ready("tiny")
            for refused in (client.get_model_metadata, client.get_model_config):
                with pytest.raises(InferenceServerException, match="X-API-Key"):
                    refused("tiny")
            with pytest.raises(InferenceServerException, match="X-API-Key"):
                client.infer("tiny", given)
            answer = client.infer("tiny", given, headers={"X-API-Key": "secret"})
        assert answer.as_numpy("probability").shape == (1,)


def test_films_wait_in_the_same_queue_and_run_in_the_same_batches(
    gated_live: tuple[Live, Gate], film: bytes
) -> None:
    live, gate = gated_live
    gate.close()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(live.predict, film)
        wait_until(lambda: len(gate.batches) == 1, "a film runs into the gate")
        others = [
            pool.submit(live.predict, film),
            pool.submit(live.client.post, INFER, json=body(films(1))),
        ]
        wait_until(lambda: live.service.batcher.depth == 2, "two films wait")
        refused = live.client.post(INFER, json=body(films(1)))
        assert refused.status_code == 429
        assert list(refused.json()) == ["error"]
        assert int(refused.headers["retry-after"]) >= 1
        gate.open()
        assert [future.result().status_code for future in (first, *others)] == [200, 200, 200]
    assert gate.batches == [1, 2]


def test_more_films_than_the_queue_holds_go_through_in_turns(tiny_folder: Path) -> None:
    with running(Settings(model_dir=tiny_folder, max_queue=2, max_batch=2)) as live:
        answer = live.client.post(INFER, json=body(films(9)) | {"outputs": [{"name": "novelty"}]})
        assert answer.json()["outputs"][0]["data"] == expected(live, films(9))["novelty"].tolist()


def test_a_film_that_cannot_be_judged_fails_its_request(model_folder: Path) -> None:
    (model_folder / "model.onnx").write_bytes(tiny_model.build(nan="for dark films"))
    pixels = films(3)
    pixels[1] = 0
    with running(Settings(model_dir=model_folder)) as live:
        answer = live.client.post(INFER, json=body(pixels))
        assert (answer.status_code, list(answer.json())) == (503, ["error"])
        assert live.client.post(INFER, json=body(films(3))).status_code == 200


def test_a_client_that_goes_away_frees_the_places_of_its_films(gated_live: tuple[Live, Gate]) -> None:
    live, gate = gated_live
    gate.close()
    with httpx.Client(base_url=live.url) as leaving, pytest.raises(httpx.ReadTimeout):
        leaving.post(INFER, json=body(films(9)), timeout=1.0)
    wait_until(lambda: live.service.admission.taken == 0, "its place is free again")
    wait_until(lambda: live.service.batcher.depth == 0, "none of its films waits")
    gate.open()
    assert live.client.post(INFER, json=body(films(1))).status_code == 200


def test_films_are_counted_like_uploads(tiny_folder: Path) -> None:
    with running(Settings(model_dir=tiny_folder)) as live:
        live.client.post(INFER, json=body(films(3)))
        metrics = live.client.get("/metrics").text
    assert "pneumoscope_probability_count 3.0" in metrics
    assert 'pneumoscope_stage_seconds_count{stage="inference"} 3.0' in metrics
    assert 'pneumoscope_request_seconds_count{route="/v2/models/{model}/infer",status="200"} 1.0' in metrics
