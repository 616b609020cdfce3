"""What is sent to wear the service out rather than to have a film judged is refused, and the service lives on."""

import gzip
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.api import limits, tensors
from app.settings import Settings
from tests import tiny_model
from tests.app.live import Live, running

INFER = "/v2/models/tiny/infer"
SIZE = tiny_model.SIZE
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n'
END = b"\r\n--b--\r\n"
FIELD = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def small(tiny_folder: Path) -> Iterator[Live]:
    """A service that takes 8 MB at a time, four films most, and waits two seconds for them."""
    settings = Settings(model_dir=tiny_folder, max_upload_mb=8, max_files=4, upload_timeout_s=2)
    with running(settings) as service:
        yield service


def lives_on(live: Live, film: bytes) -> bool:
    """Whether a good film is judged."""
    return live.predict(film).status_code == 200


FORMS = {
    "a part with a hundred thousand header lines": (PART + b"A: b\r\n" * 100_000 + b"\r\nx" + END, 400),
    "a part with nine header lines": (PART + b"A: b\r\n" * 9 + b"\r\nx" + END, 400),
    "a header line of a megabyte": (PART + b"A: " + b"b" * MEGABYTE + b"\r\n\r\nx" + END, 400),
    "a header name of a megabyte": (PART + b"A" * MEGABYTE + b": b\r\n\r\nx" + END, 400),
    "a field name of a megabyte": (FIELD.replace(b'"a"', b'"' + b"a" * MEGABYTE + b'"') + END, 400),
    "a file name of a megabyte": (PART.replace(b'"f"', b'"' + b"f" * MEGABYTE + b'"') + b"\r\nx" + END, 400),
    "a million empty parts": (b"--b\r\n\r\n\r\n" * 700_000 + END, 400),
    "a hundred thousand empty fields": (FIELD * 100_000 + END, 400),
    "seventeen fields": (FIELD * 17 + END, 400),
    "a field of a megabyte": (FIELD[:-2] + b"a" * MEGABYTE + END, 400),
    "a hundred thousand empty files": ((PART + b"\r\n\r\n") * 100_000 + END, 413),
    "a form within the form": (
        PART + b"Content-Type: multipart/mixed; boundary=c\r\n\r\n" + b"--c\r\n\r\nx\r\n" * 100_000 + END,
        415,
    ),
    # These are allowed before a form, and dropped.
    "lines before the first part": (b"\r\n" * 4_000_000 + PART + b"\r\nx" + END, 415),
    "lines behind the last part": (PART + b"\r\n" + END + b"\r\n" * 3_000_000, 400),
    "boundaries that are nearly complete": (PART + b"\r\n" + b"\r\n--" * 2_000_000 + END, 415),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_form_that_is_all_form_is_refused_and_the_service_lives_on(
    small: Live, film: bytes, name: str
) -> None:
    body, status = FORMS[name]
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert small.client.post("/predict", content=body, headers=headers).status_code == status
    assert lives_on(small, film)


@pytest.mark.parametrize(
    "parameters",
    [
        b"boundary=" + b"b" * 5000,
        b"boundary=",
        b'boundary="' + b"b" * 300 + b'"',
        b";" * 5000,
        b"a=b;" * 5000,
        b'a="' * 5000,
        b"boundary=\xff\xfe",
        b"boundary*=utf-8''" + b"%41" * 1000,
    ],
)
def test_a_boundary_that_is_none_is_a_400(small: Live, film: bytes, parameters: bytes) -> None:
    headers = {b"Content-Type": b"multipart/form-data; " + parameters}
    answer = small.client.post("/predict", content=PART + b"\r\nx" + END, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-form")
    assert lives_on(small, film)


def inference(data: bytes, *, rest: bytes = b"") -> bytes:
    """An inference request of one film with that `data`."""
    tensor = b'{"name":"pixels","datatype":"UINT8","shape":[1,%d,%d],"data":%b}' % (SIZE, SIZE, data)
    return b'{"inputs":[' + tensor + b"]" + rest + b"}"


def many(value: bytes, count: int = MEGABYTE) -> bytes:
    return b"[" + b",".join([value] * count) + b"]"


JSONS = {
    "lists within lists, without end": (b"[" * 7 * MEGABYTE, 413),
    "lists within lists": (inference(b"[" * 2000 + b"]" * 2000), 400),
    "lists within lists, as deep as JSON's reader goes": (inference(b"[" * 190 + b"]" * 190), 400),
    "objects within objects": (inference(b'{"a":' * 3000 + b"0" + b"}" * 3000), 400),
    "a million empty lists": (inference(many(b"[]")), 413),
    "a million objects": (inference(many(b"{}")), 413),
    "a million strings": (inference(many(b'""')), 413),
    "a million numbers": (inference(many(b"0")), 413),
    "a million outputs": (inference(b"[]", rest=b',"outputs":' + many(b'{"name":"x"}', 500_000)), 413),
    "a million parameters": (
        inference(b"[]", rest=b',"parameters":{' + b",".join(b'"%d":0' % n for n in range(500_000)) + b"}"),
        413,
    ),
    "a number of a million digits": (inference(b"[" + b"9" * MEGABYTE + b"]"), 400),
    "a string of a megabyte": (inference(b"[]", rest=b',"id":"' + b"a" * MEGABYTE + b'"'), 400),
    "a shape of four thousand digits": (inference(b"[0]").replace(b"[1,", b"[" + b"9" * 4000 + b","), 413),
    "a negative shape": (inference(b"[0]").replace(b"[1,", b"[-1,"), 400),
}


@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate"])
@pytest.mark.parametrize("name", JSONS)
def test_json_that_is_more_than_films_is_refused_and_the_service_lives_on(
    small: Live, film: bytes, name: str, encoding: str
) -> None:
    body, status = JSONS[name]
    compress = {"identity": bytes, "gzip": lambda plain: gzip.compress(plain, 1), "deflate": zlib.compress}
    answer = small.client.post(
        INFER, content=compress[encoding](body), headers={"Content-Encoding": encoding}
    )
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert lives_on(small, film)


def test_json_with_too_many_values_is_refused_before_it_is_read(
    small: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_: object) -> None:
        raise AssertionError("it was read")

    monkeypatch.setattr(tensors.InferenceRequest, "model_validate_json", read)
    assert small.client.post(INFER, content=inference(many(b"0"))).status_code == 413


def test_as_many_films_as_are_taken_fit_flat_or_nested(small: Live) -> None:
    row = [90] * SIZE
    for data in ([[row] * SIZE] * 4, row * SIZE * 4):
        tensor = {"name": "pixels", "datatype": "UINT8", "shape": [4, SIZE, SIZE], "data": data}
        assert small.client.post(INFER, json={"inputs": [tensor]}).status_code == 200


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_bomb_is_not_inflated_beyond_what_is_taken(small: Live, film: bytes, layers: int) -> None:
    bomb = bytes(100 * MEGABYTE)
    for _ in range(layers):
        bomb = gzip.compress(bomb, 1)
    answer = small.client.post(INFER, content=bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == (413 if layers == 1 else 400)
    assert lives_on(small, film)


def spoken(live: Live, *pieces: bytes) -> bytes:
    """What the service says to these bytes, until it closes the connection."""
    host, port = live.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        for piece in pieces:
            connection.sendall(piece)
        said = b""
        while more := connection.recv(65536):
            said += more
            if b"connection: close" not in said.lower() and b"\r\n\r\n" in said:
                return said
    return said


HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"


@pytest.mark.parametrize(
    "lie",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"Content-Length: -5\r\n\r\n",
        b"Content-Length: 5, 5\r\n\r\nabcde",
        b"Content-Length: 0x10\r\n\r\n" + bytes(16),
        b"Content-Length: 99999999999999999999999999\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n\r\n",
        b"Transfer-Encoding: gzip\r\n\r\nabc",
        b"Transfer-Encoding: chunked, identity\r\n\r\nabc",
    ],
)
def test_a_length_that_is_ambiguous_or_impossible_is_a_400(small: Live, film: bytes, lie: bytes) -> None:
    assert spoken(small, HEAD + lie).startswith(b"HTTP/1.1 400 ")
    assert lives_on(small, film)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ((b"Content-Length: 999999999\r\n\r\n",), b"413"),
        ((b"Content-Length: 1000\r\n\r\n", PART), b"408"),
        ((b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\n--b\r\n\r\n"), b"408"),
        ((b"Transfer-Encoding: chunked\r\n\r\n", *[b"100000\r\n" + b"\r\n" * 0x80000 + b"\r\n"] * 10), b"413"),
    ],
    ids=["more than is taken", "longer than what comes", "chunks that stop", "chunks without end"],
)  # fmt: skip
def test_a_length_that_is_not_kept_ends_in_time(
    small: Live, film: bytes, said: tuple[bytes, ...], status: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_LINGER_SECONDS", 0.5)
    assert spoken(small, HEAD + said[0], *said[1:]).startswith(b"HTTP/1.1 " + status)
    assert lives_on(small, film)


def test_what_follows_a_body_of_the_announced_length_is_another_request(small: Live, film: bytes) -> None:
    body = PART + b"\r\nx" + END
    announced = HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    assert spoken(small, announced + body + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n").startswith(
        b"HTTP/1.1 415 "
    )
    assert lives_on(small, film)


def test_a_query_of_thousands_of_parameters_is_refused(small: Live, film: bytes) -> None:
    for query in ("a=b&" * 5_000, "explain=" + "true" * 5_000, "&" * 10_000):
        answer: httpx.Response = small.client.post(f"/predict?{query}", files={"file": film})
        assert answer.status_code == 414
    assert lives_on(small, film)
