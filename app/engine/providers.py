"""Where the model runs: CUDA or the CPU, chosen in the open and verified after the fact.

onnxruntime lists CUDA as available even where its libraries cannot be loaded, and then falls back to the CPU
without a word. So a session's providers are read back, and a demanded CUDA that is not live is an error.
"""

import contextlib
import io
import logging
from dataclasses import dataclass
from typing import Any, Literal

import onnxruntime

from app.engine.errors import DeviceMissing, ModelFileError

Device = Literal["auto", "cpu", "cuda"]
ProviderName = Literal["cpu", "cuda"]

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_FATAL_ONLY = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Provider:
    """Where sessions run, and in words why there."""

    name: ProviderName
    reason: str


def choose_provider(device: Device) -> Provider:
    """The provider to try for `device`, before any session exists.

    Raises:
        DeviceMissing: `device` is "cuda" and the installed onnxruntime has no CUDA provider.
    """
    if device == "cpu":
        return Provider("cpu", "DEVICE=cpu asks for it")
    if _CUDA not in onnxruntime.get_available_providers():
        if device == "cuda":
            raise DeviceMissing(
                "DEVICE=cuda, but the installed onnxruntime is built without CUDA; install the extra 'gpu' "
                "instead of 'cpu'."
            )
        return Provider("cpu", "the installed onnxruntime is built without CUDA")
    _preload_cuda_libraries()
    return Provider("cuda", "DEVICE=cuda asks for it" if device == "cuda" else "CUDA is live")


def open_session(model: bytes, provider: Provider, *, threads: int, cuda_device_id: int = 0) -> Any:
    """An `onnxruntime.InferenceSession` over `model` that verifiably runs on `provider`.

    Args:
        model: a whole ONNX file.
        provider: from `choose_provider`.
        threads: threads of one operator on the CPU.
        cuda_device_id: which of several CUDA devices.

    Raises:
        ModelFileError: onnxruntime cannot make a session of these bytes.
        DeviceMissing: CUDA was asked for and the session does not have it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _FATAL_ONLY
    wanted: list[Any] = [_CPU]
    if provider.name == "cuda":
        wanted.insert(0, (_CUDA, _cuda_options(cuda_device_id)))
    try:
        session = onnxruntime.InferenceSession(model, options, providers=wanted, enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions have no class of their own in common
        if provider.name == "cuda":
            raise DeviceMissing(f"CUDA could not be started: {first_line(error)}") from error
        raise ModelFileError(f"it is not an ONNX model that can be run: {first_line(error)}") from error
    if provider.name == "cuda" and _CUDA not in session.get_providers():
        raise DeviceMissing(
            "CUDA is built in but not live; is there an NVIDIA driver, and are the CUDA and cuDNN libraries "
            "of the extra 'gpu' installed?"
        )
    return session


def first_line(error: Exception) -> str:
    """The first line of an error's message, without onnxruntime's own prefix and source position."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return line.removeprefix("[ONNXRuntimeError] : ")[:200]


def _cuda_options(device_id: int) -> dict[str, str]:
    return {
        "device_id": str(device_id),
        # Every batch size is run before readiness, so the exhaustive search is paid for once, then.
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1",
        "arena_extend_strategy": "kSameAsRequested",
    }


def _preload_cuda_libraries() -> None:
    said = io.StringIO()  # preload_dlls reports on standard output
    with contextlib.redirect_stdout(said):
        onnxruntime.preload_dlls(directory="")
    for line in filter(None, map(str.strip, said.getvalue().splitlines())):
        log.warning("loading the CUDA libraries: %s", line)
