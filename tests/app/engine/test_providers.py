from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from app.engine.binding import BoundSession
from app.engine.classifier import Classifier
from app.engine.errors import DeviceMissing
from app.engine.providers import Provider, choose_provider, cuda_options, is_out_of_memory
from tests import tiny_model

CPU_ONLY = ["CPUExecutionProvider"]
WITH_CUDA = ["CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture
def cuda_in_name_only(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """onnxruntime as it is where CUDA is built in but its libraries cannot be loaded: it falls back in silence."""
    opened: list[Any] = []
    real = onnxruntime.InferenceSession

    def session(model: bytes, options: Any, providers: list[Any], **kwargs: Any) -> Any:
        opened.append(providers)
        return real(model, options, providers=CPU_ONLY, **kwargs)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: WITH_CUDA)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda directory: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return opened


def test_cuda_that_is_not_built_in_fails_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: CPU_ONLY)
    with pytest.raises(DeviceMissing, match="built without CUDA"):
        choose_provider("cuda")


def test_auto_without_cuda_takes_the_cpu_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: CPU_ONLY)
    provider = choose_provider("auto")
    assert provider.name == "cpu"
    assert "built without CUDA" in provider.reason


def test_demanded_cuda_that_is_not_live_fails_loudly(tiny_folder: Path, cuda_in_name_only: list[Any]) -> None:
    with pytest.raises(DeviceMissing, match="not live"):
        Classifier.open(tiny_folder, device="cuda")
    assert cuda_in_name_only[0][0][0] == "CUDAExecutionProvider"


def test_cuda_is_asked_to_search_once_and_to_take_no_more_memory_than_it_needs() -> None:
    assert cuda_options(Provider("cuda", "a test", device_id=3)) == {
        "device_id": "3",
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1",
        "arena_extend_strategy": "kSameAsRequested",
    }


def test_cuda_memory_has_a_limit_where_one_is_set() -> None:
    limited = cuda_options(Provider("cuda", "a test", memory_mb=2048))
    assert limited["gpu_mem_limit"] == str(2 * 2**30)


def test_device_and_limit_reach_the_session(tiny_folder: Path, cuda_in_name_only: list[Any]) -> None:
    with pytest.raises(DeviceMissing):
        Classifier.open(tiny_folder, device="cuda", cuda_device_id=1, cuda_memory_mb=512)
    (_, options) = cuda_in_name_only[0][0]
    assert (options["device_id"], options["gpu_mem_limit"]) == ("1", str(512 * 2**20))


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer"), True),
        (RuntimeError("CUDA failure 2: out of memory ; GPU=0"), True),
        (RuntimeError("CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("std::bad_alloc"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA failure 700: an illegal memory access was encountered"), False),
        (RuntimeError("CUDA failure 209: no kernel image is available"), False),
        (RuntimeError("Got invalid dimensions for input: pixels"), False),
    ],
)  # fmt: skip
def test_want_of_memory_is_told_from_other_failures(error: Exception, memory: bool) -> None:
    assert is_out_of_memory(error) is memory


def test_bound_buffers_give_the_sessions_own_answer_for_every_size(tiny_folder: Path) -> None:
    """The buffers lie on the CPU here; on CUDA only their place is another."""
    session = onnxruntime.InferenceSession(tiny_folder / "model.onnx", providers=CPU_ONLY)
    names = ["heatmap", "probability"]
    bound = BoundSession(session, names, device="cpu", device_id=0)
    random = np.random.default_rng(0)
    for films in (1, 4, 1, 2, 4, 4):
        pixels = random.integers(0, 256, (films, tiny_model.SIZE, tiny_model.SIZE), np.uint8)
        for given, own in zip(bound(pixels), session.run(names, {"pixels": pixels}), strict=True):
            assert given.dtype == np.float32
            assert np.array_equal(given, own)


def test_an_earlier_answer_is_not_overwritten_by_a_later_one(tiny_folder: Path) -> None:
    session = onnxruntime.InferenceSession(tiny_folder / "model.onnx", providers=CPU_ONLY)
    bound = BoundSession(session, ["novelty"], device="cpu", device_id=0)
    film = np.ones((1, tiny_model.SIZE, tiny_model.SIZE), np.uint8)
    (first,) = bound(film * 10)
    (second,) = bound(film * 20)
    assert (first.tolist(), second.tolist()) == ([10], [20])


def test_auto_falls_back_to_the_cpu_aloud(
    tiny_folder: Path, cuda_in_name_only: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    classifier = Classifier.open(tiny_folder, device="auto")
    assert len(cuda_in_name_only) == 2
    assert classifier.provider.name == "cpu"
    assert "not live" in classifier.provider.reason
    assert classifier.provider.fell_back
    assert "CUDA is not used" in caplog.text
