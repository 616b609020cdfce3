"""Whatever the bytes, a request is read or refused; what is written can be read back."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.errors import InferenceRefused, TooManyFiles
from app.api.tensors import Inference, inflate, parse, write

SIZE = 4
OUTPUTS = ["heatmap", "probability"]
LEVELS = list(range(2 * SIZE * SIZE))
REQUEST: dict[str, Any] = {
    "id": "1",
    "parameters": {"binary_data_output": True},
    "inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [2, SIZE, SIZE], "data": LEVELS}],
    "outputs": [{"name": "probability", "parameters": {"binary_data": False}}],
}
BINARY = {"inputs": [{**REQUEST["inputs"][0], "data": None, "parameters": {"binary_data_size": len(LEVELS)}}]}
TEXT, BINARY_TEXT = json.dumps(REQUEST).encode(), json.dumps(BINARY).encode()


def read(body: bytes, json_length: str | None = None) -> Inference:
    return parse(body, json_length, size=SIZE, max_films=8, known_outputs=OUTPUTS)


def read_or_refuse(body: bytes, json_length: str | None = None) -> None:
    try:
        inference = read(body, json_length)
    except (InferenceRefused, TooManyFiles):
        return
    assert inference.pixels.shape[1:] == (SIZE, SIZE)
    assert inference.pixels.dtype == np.uint8
    assert set(inference.binary) <= set(OUTPUTS)


def test_json_and_bytes_say_the_same() -> None:
    one = read(TEXT)
    other = read(BINARY_TEXT + bytes(LEVELS), str(len(BINARY_TEXT)))
    assert one.pixels.ravel().tolist() == other.pixels.ravel().tolist() == LEVELS
    assert one.binary == {"probability": False}
    assert other.binary == {"heatmap": False, "probability": False}


patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(st.binary(max_size=100), st.text("0123456789- ", max_size=4) | st.none())
@patient
def test_random_bytes(body: bytes, json_length: str | None) -> None:
    read_or_refuse(body, json_length)


@given(st.data(), st.sampled_from((TEXT, BINARY_TEXT + bytes(LEVELS))), st.booleans())
@patient
def test_mutated_requests(data: st.DataObject, seed: bytes, with_length: bool) -> None:
    body = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    read_or_refuse(bytes(body), str(len(BINARY_TEXT)) if with_length else None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=2)
    ),
    max_leaves=8,
)


@given(st.sampled_from(("shape", "data", "parameters", "datatype", "name")), JSON)
@patient
def test_any_value_in_an_input(field: str, value: Any) -> None:
    read_or_refuse(json.dumps({**REQUEST, "inputs": [REQUEST["inputs"][0] | {field: value}]}).encode())


@given(st.sampled_from(("id", "parameters", "inputs", "outputs")), JSON)
@patient
def test_any_value_in_a_request(field: str, value: Any) -> None:
    read_or_refuse(json.dumps(REQUEST | {field: value}).encode())


@given(st.binary(max_size=50), st.sampled_from(("gzip", "deflate", "br", "identity", "")))
@patient
def test_random_compressed_bytes(body: bytes, encoding: str) -> None:
    try:
        assert inflate(body, encoding, max_bytes=100) is not None
    except InferenceRefused:
        assert encoding not in ("identity", "")


@pytest.mark.parametrize(
    "binary", [{"probability": False}, {"probability": True}, {"heatmap": True, "probability": False}]
)
def test_an_answer_has_what_was_asked_for_in_its_order(binary: dict[str, bool]) -> None:
    outputs = {
        "heatmap": np.arange(2 * 3 * 3, dtype=np.float32).reshape(2, 3, 3),
        "probability": np.array([0.1, 0.9], np.float32),
    }
    inference = Inference(id=None, pixels=np.zeros((2, SIZE, SIZE), np.uint8), binary=binary)
    content, length = write(inference, outputs, name="tiny", version="1")
    assert (length is None) == (True not in binary.values())
    answer = json.loads(content[:length])
    assert "id" not in answer
    rest = content[length:] if length is not None else b""
    for output, (name, raw) in zip(answer["outputs"], binary.items(), strict=True):
        assert (output["name"], output["shape"]) == (name, list(outputs[name].shape))
        if raw:
            size = output["parameters"]["binary_data_size"]
            values, rest = np.frombuffer(rest[:size], "<f4"), rest[size:]
        else:
            values = np.array(output["data"], np.float32)
        assert np.array_equal(values, outputs[name].ravel())
    assert rest == b""
