"""Where the model runs: CUDA or the CPU, chosen in the open and verified after the fact.

onnxruntime lists CUDA as available even where its libraries cannot be loaded, and then falls back to the CPU
without a word. So a session's providers are read back, and a demanded CUDA that is not live is an error.
"""

import contextlib
import io
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime

from app.engine.binding import BoundSession
from app.engine.errors import DeviceMissing, ModelFileError

Device = Literal["auto", "cpu", "cuda"]
ProviderName = Literal["cpu", "cuda"]
Runner = Callable[[npt.NDArray[np.uint8]], list[npt.NDArray[np.float32]]]

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_FATAL_ONLY = 4
# The arena's words, CUDA's and those of its libraries, and C++'s.
_OUT_OF_MEMORY = re.compile(
    r"failed to allocate memory|out of memory|CUDA failure 2\b|_ALLOC_FAILED|bad_alloc", re.IGNORECASE
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Provider:
    """Where sessions run, and in words why there; which of several CUDA devices, and how much of its memory.

    `fell_back`: CUDA was tried and did not come up, so that this is the CPU instead.
    """

    name: ProviderName
    reason: str
    device_id: int = 0
    memory_mb: int | None = None
    fell_back: bool = False


def choose_provider(device: Device, *, device_id: int = 0, memory_mb: int | None = None) -> Provider:
    """The provider to try for `device`, before any session exists.

    Args:
        device: what is asked for.
        device_id: which of several CUDA devices.
        memory_mb: most memory to take of it, in MiB; None sets no limit.

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
    reason = "DEVICE=cuda asks for it" if device == "cuda" else "CUDA is live"
    return Provider("cuda", reason, device_id, memory_mb)


def open_session(model: bytes, provider: Provider, *, threads: int) -> Any:
    """An `onnxruntime.InferenceSession` over `model` that verifiably runs on `provider`.

    Args:
        model: a whole ONNX file.
        provider: from `choose_provider`.
        threads: threads of one operator on the CPU.

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
        wanted.insert(0, (_CUDA, cuda_options(provider)))
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


def runner(session: Any, outputs: list[str], provider: Provider) -> Runner:
    """What runs `session` on the pixels uint8 [N, S, S] and answers with `outputs`, in their order."""
    if provider.name == "cuda":
        return BoundSession(session, outputs, device="cuda", device_id=provider.device_id)
    return lambda pixels: session.run(outputs, {"pixels": pixels})


def cuda_options(provider: Provider) -> dict[str, str]:
    """onnxruntime's options for CUDA; see its page on the CUDA execution provider."""
    options = {
        "device_id": str(provider.device_id),
        # Every batch size is run before readiness, so the exhaustive search is paid for once, then.
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1",
        # The sizes are few and known, so the arena need not double in advance.
        "arena_extend_strategy": "kSameAsRequested",
    }
    if provider.memory_mb is not None:
        options["gpu_mem_limit"] = str(provider.memory_mb * 2**20)
    return options


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception of onnxruntime, or of CUDA through it, says that memory has run out."""
    return isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)) is not None


def first_line(error: Exception) -> str:
    """The first line of an error's message, without onnxruntime's own prefix and source position."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return line.removeprefix("[ONNXRuntimeError] : ")[:200]


def _preload_cuda_libraries() -> None:
    said = io.StringIO()  # preload_dlls reports on standard output
    with contextlib.redirect_stdout(said):
        onnxruntime.preload_dlls(directory="")
    for line in filter(None, map(str.strip, said.getvalue().splitlines())):
        log.warning("loading the CUDA libraries: %s", line)
