"""Tensors as the Open Inference Protocol writes them: JSON, or JSON followed by raw bytes.

https://github.com/kserve/open-inference-protocol, with Triton's extension for binary tensor data: the header
`Inference-Header-Content-Length` tells how many bytes of the body are JSON.
"""

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.api.errors import BodyTooLarge, InferenceRefused, TooManyFiles

JSON_LENGTH = "Inference-Header-Content-Length"

Pixels = npt.NDArray[np.uint8]
Parameters = dict[str, Any]

_LENGTH = re.compile(r"[0-9]{1,12}")
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_MOST_REST = 4096
_UNSUPPORTED = {"classification", "shared_memory_region"}


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True)


class InputTensor(_Body):
    """The films: in `data`, or behind the JSON as `binary_data_size` bytes."""

    name: Literal["pixels"]
    datatype: Literal["UINT8"]
    shape: list[int] = Field(
        min_length=3, max_length=3, description="[N, S, S]: N films of the model's size."
    )
    parameters: Parameters = {}
    data: Any = Field(None, description="Grey levels from 0 (black) to 255, row by row, flat or nested.")


class RequestedOutput(_Body):
    """An output that is wanted; with the parameter `binary_data`, as raw bytes."""

    name: str
    parameters: Parameters = {}


class InferenceRequest(_Body):
    """What is asked; without `outputs`, all of them."""

    id: str | None = None
    parameters: Parameters = {}
    inputs: list[InputTensor] = Field(min_length=1, max_length=1)
    outputs: list[RequestedOutput] = []


class OutputTensor(_Body):
    """An output of all films: its values in `data` row by row, or `binary_data_size` raw bytes behind the JSON."""

    name: str
    datatype: Literal["FP32"] = "FP32"
    shape: list[int]
    parameters: Parameters | None = None
    data: list[float] | None = None


class InferenceResponse(_Body):
    """What is answered."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


@dataclass(frozen=True, slots=True)
class Inference:
    """A request that can be carried out.

    `pixels`: uint8, [N, S, S]. `binary`: for each output that is wanted, in order, whether as raw bytes.
    """

    id: str | None
    pixels: Pixels
    binary: Mapping[str, bool]


def inflate(body: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """A body without its Content-Encoding: gzip, deflate or none.

    Raises:
        InferenceRefused: it is encoded otherwise, or damaged.
        BodyTooLarge: it would be larger than `max_bytes`.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise InferenceRefused("The body may be encoded with gzip or deflate, and not otherwise.")
    inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        plain = inflater.decompress(body, max_bytes)
    except zlib.error as error:
        raise InferenceRefused("The compressed body is damaged.") from error
    if inflater.unconsumed_tail:
        raise BodyTooLarge(f"The body is larger than the {max_bytes:,} bytes that are taken here.")
    if not inflater.eof:
        raise InferenceRefused("The compressed body is cut short.")
    return plain


def parse(
    body: bytes, json_length: str | None, *, size: int, max_films: int, known_outputs: Sequence[str]
) -> Inference:
    """Read a request.

    Args:
        body: the whole body, not encoded.
        json_length: the header `Inference-Header-Content-Length`; None where all of the body is JSON.
        size: side of the square that the model takes, in pixels.
        max_films: most films in one request.
        known_outputs: the outputs that the model has.

    Raises:
        InferenceRefused: it is not such a request, or not one that this model can take.
        TooManyFiles: it has more than `max_films`.
    """
    length = _length_of_json(body, json_length)
    _judge_size(body, length, levels=max_films * size * size, rows=max_films * (size + 1))
    try:
        request = InferenceRequest.model_validate_json(body[:length])
    except ValidationError as error:
        raise InferenceRefused(_complaint(error)) from error
    (tensor,) = request.inputs
    films = tensor.shape[0]
    if films < 1 or tensor.shape[1:] != [size, size]:
        raise InferenceRefused(
            f"The input 'pixels' has the shape [N, {size}, {size}] with at least one film."
        )
    if films > max_films:
        raise TooManyFiles(f"The request has more films than the {max_films} that are taken here.")
    levels = _levels(tensor, memoryview(body)[length:], films * size * size)
    return Inference(
        id=request.id,
        pixels=np.frombuffer(levels, np.uint8).reshape(films, size, size),
        binary=_wanted(request, known_outputs),
    )


def write(
    inference: Inference, outputs: Mapping[str, npt.NDArray[np.float32]], *, name: str, version: str
) -> tuple[bytes, int | None]:
    """The body of the answer, and how much of it is JSON; None where all of it is.

    Args:
        inference: what was asked.
        outputs: float32, [N, ...], by name.
        name: the model's.
        version: the model's.
    """
    tensors: list[OutputTensor] = []
    raw: list[bytes] = []
    for wanted, binary in inference.binary.items():
        values = outputs[wanted].astype("<f4", order="C")
        tensor = OutputTensor(name=wanted, shape=list(values.shape))
        if binary:
            raw.append(values.tobytes())
            tensors.append(tensor.model_copy(update={"parameters": {"binary_data_size": len(raw[-1])}}))
        else:
            tensors.append(tensor.model_copy(update={"data": values.ravel().tolist()}))
    response = InferenceResponse(model_name=name, model_version=version, id=inference.id, outputs=tensors)
    head = response.model_dump_json(exclude_none=True).encode()
    return b"".join((head, *raw)), len(head) if raw else None


def _length_of_json(body: bytes, json_length: str | None) -> int:
    if json_length is None:
        return len(body)
    if not _LENGTH.fullmatch(json_length) or not 0 < int(json_length) <= len(body):
        raise InferenceRefused(f"{JSON_LENGTH} is not a length within the body.")
    return int(json_length)


def _judge_size(body: bytes, length: int, *, levels: int, rows: int) -> None:
    """Refuse a JSON of more values than any request has, before each of them takes time and memory.

    Args:
        body: its first `length` bytes are JSON.
        length: see there.
        levels: most grey levels.
        rows: most lists that these stand in.

    Raises:
        TooManyFiles: it has more, and more than the few thousand that all else may take.
    """
    values, lists, members = (
        body.count(b",", 0, length),
        body.count(b"[", 0, length),
        body.count(b":", 0, length),
    )
    if values > levels + _MOST_REST or lists > rows + _MOST_REST or members > _MOST_REST:
        raise TooManyFiles("The JSON has more values than the films that are taken here can have.")


def _levels(tensor: InputTensor, rest: memoryview, count: int) -> bytes | memoryview:
    """The `count` grey levels of the input, from its JSON or from the bytes behind it."""
    if _UNSUPPORTED & tensor.parameters.keys():
        raise InferenceRefused("Shared memory is not supported.")
    if "binary_data_size" in tensor.parameters:
        if tensor.data is not None or tensor.parameters["binary_data_size"] != count or len(rest) != count:
            raise InferenceRefused(
                f"The input's shape asks for {count} bytes behind the JSON, and for no 'data'."
            )
        return rest
    if len(rest):
        raise InferenceRefused("There are bytes behind the JSON that no input asks for.")
    try:
        levels = bytes(_flat(tensor.data))
    except (TypeError, ValueError) as error:
        raise InferenceRefused("'data' holds whole numbers from 0 to 255.") from error
    if len(levels) != count:
        raise InferenceRefused(f"The input's shape asks for {count} numbers in 'data'.")
    return levels


def _flat(data: Any) -> Iterable[Any]:
    """The innermost values of lists within lists."""
    if not isinstance(data, list):
        raise TypeError("no list")
    values: list[Any] = data
    while values and isinstance(values[0], list):
        values = [value for row in values for value in row]
    return values


def _wanted(request: InferenceRequest, known: Sequence[str]) -> dict[str, bool]:
    by_default = request.parameters.get("binary_data_output") is True
    if not request.outputs:
        return dict.fromkeys(known, by_default)
    wanted: dict[str, bool] = {}
    for output in request.outputs:
        if _UNSUPPORTED & output.parameters.keys():
            raise InferenceRefused("Neither shared memory nor classification is supported.")
        if output.name not in known:
            raise InferenceRefused(f"The model's outputs are {', '.join(known)}.")
        wanted[output.name] = output.parameters.get("binary_data", by_default) is True
    return wanted


def _complaint(error: ValidationError) -> str:
    """Which part of the request is wrong, by the protocol's own names and not by what the client sent."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return "The body, or its part before the binary data, is not JSON."
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
