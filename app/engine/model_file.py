"""A model file on disk: which of a folder's files to take, its digest, its manifest, its tensors.

The contract:

    in   pixels       uint8    [N, S, S]
    out  probability  float32  [N]
    out  classes      float32  [N, 3]      optional: normal, bacterial, viral
    out  heatmap      float32  [N, h, w]   optional
    out  novelty      float32  [N]         optional

Every refusal is a `ModelFileError` whose message is one sentence.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from app.engine.errors import ModelFileError
from app.engine.manifest import METADATA_KEY, Manifest
from app.engine.providers import ProviderName

Precision = Literal["auto", "int8", "float16"]

FLOAT_FILE = "model.onnx"
INT8_FILE = "model.int8.onnx"

MOST_BYTES = 2**31
"""No protocol buffer is larger, so no ONNX file is."""

_INPUT = "pixels"
_OUTPUT_RANKS = {"probability": 1, "classes": 2, "heatmap": 3, "novelty": 1}


@dataclass(frozen=True, slots=True)
class ModelFile:
    """The bytes of a model file, read once, so that what was hashed is what runs."""

    path: Path
    content: bytes = field(repr=False)
    sha256: str


def choose_file(folder: Path, precision: Precision, provider: ProviderName) -> Path:
    """The file in `folder` that serves `precision` on `provider`.

    "auto" takes int8 on the CPU where that file is there, and the half-precision file otherwise.

    Raises:
        ModelFileError: the folder or the file is not there.
    """
    if not folder.is_dir():
        raise ModelFileError(f"The model folder {folder} does not exist.")
    int8, float16 = folder / INT8_FILE, folder / FLOAT_FILE
    wants_int8 = precision == "int8" or (precision == "auto" and provider == "cpu" and int8.is_file())
    chosen = int8 if wants_int8 else float16
    if not chosen.is_file():
        missing = "is not a file" if chosen.exists() else "does not exist"
        raise ModelFileError(f"The model file {chosen} {missing}.")
    return chosen


def read_file(path: Path, expected_sha256: str | None = None) -> ModelFile:
    """Read and hash the file at `path`.

    Raises:
        ModelFileError: it cannot be read, is too large, or its SHA-256 is not `expected_sha256`.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ModelFileError(f"The model file {path} is larger than an ONNX file can be.")
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"The model file {path} cannot be read: {error.strerror}.") from error
    except MemoryError as error:
        raise ModelFileError(f"There is no memory for the model file {path}.") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if expected_sha256 is not None and sha256 != expected_sha256.lower():
        raise ModelFileError(
            f"The model file {path} has the SHA-256 {sha256}, but {expected_sha256.lower()} is demanded."
        )
    return ModelFile(path=path, content=content, sha256=sha256)


def read_manifest(metadata: dict[str, str]) -> Manifest:
    """The manifest in an ONNX file's custom metadata.

    Raises:
        ModelFileError: there is none, or it is not valid.
    """
    if METADATA_KEY not in metadata:
        raise ModelFileError("it carries no manifest in its metadata")
    try:
        return Manifest.model_validate_json(metadata[METADATA_KEY])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ModelFileError(f"its manifest is not valid: {where}: {first['msg']}") from error


def check_tensors(inputs: list[Any], outputs: list[Any], manifest: Manifest) -> frozenset[str]:
    """Compare a session's inputs and outputs with the contract; the names of the outputs there are.

    Raises:
        ModelFileError: a tensor is missing, unknown, or of another type, rank or size.
    """
    size = manifest.input_size
    names = [tensor.name for tensor in inputs]
    if names != [_INPUT]:
        raise ModelFileError(f"its inputs are {_listed(names)}, not '{_INPUT}' alone")
    pixels = inputs[0]
    if pixels.type != "tensor(uint8)":
        raise ModelFileError(f"its input 'pixels' is {pixels.type}, not tensor(uint8)")
    if len(pixels.shape) != 3 or pixels.shape[1:] != [size, size] or isinstance(pixels.shape[0], int):
        raise ModelFileError(
            f"its input 'pixels' has the shape {_shape(pixels.shape)}, not [?, {size}, {size}]"
        )
    found = {tensor.name: tensor for tensor in outputs}
    unknown = sorted(set(found) - set(_OUTPUT_RANKS))
    if unknown:
        raise ModelFileError(f"it has outputs that the contract does not know: {_listed(unknown)}")
    if "probability" not in found:
        raise ModelFileError("it has no output 'probability'")
    for name, tensor in found.items():
        _check_output(name, tensor)
    if manifest.novelty is not None and "novelty" not in found:
        raise ModelFileError("its manifest has a novelty limit, but there is no output 'novelty'")
    return frozenset(found)


def _check_output(name: str, tensor: Any) -> None:
    rank = _OUTPUT_RANKS[name]
    if tensor.type != "tensor(float)":
        raise ModelFileError(f"its output '{name}' is {tensor.type}, not tensor(float)")
    if len(tensor.shape) != rank:
        raise ModelFileError(f"its output '{name}' has {len(tensor.shape)} axes, not {rank}")
    if name == "classes" and tensor.shape[1] != 3:
        raise ModelFileError(f"its output 'classes' has the shape {_shape(tensor.shape)}, not [?, 3]")


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"


def _shape(shape: list[Any]) -> str:
    return "[" + ", ".join(str(axis) if isinstance(axis, int) else "?" for axis in shape) + "]"
