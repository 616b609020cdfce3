from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from app.engine.classifier import Classifier
from app.engine.errors import DeviceMissing
from app.engine.providers import choose_provider

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


def test_auto_falls_back_to_the_cpu_aloud(
    tiny_folder: Path, cuda_in_name_only: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    classifier = Classifier.open(tiny_folder, device="auto")
    assert len(cuda_in_name_only) == 2
    assert classifier.provider.name == "cpu"
    assert "not live" in classifier.provider.reason
    assert "CUDA is not used" in caplog.text
