import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from app.engine.classifier import Classifier
from app.engine.errors import ModelFileError
from app.engine.model_file import check_tensors, choose_file, read_file
from app.engine.providers import ProviderName
from tests import tiny_model


def refusal(folder: Path, content: bytes) -> str:
    """The sentence with which this file is refused."""
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        Classifier.open(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert re.fullmatch(r"The model file \S+ is refused: .+[^.]\.", sentence), sentence
    return sentence


def with_manifest(**changes: Any) -> str:
    fields = json.loads(tiny_model.manifest().model_dump_json())
    return json.dumps(fields | changes)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not an ONNX model"),
        (b"no model at all", "not an ONNX model"),
        (tiny_model.build()[:200], "not an ONNX model"),
        (tiny_model.build(metadata=None), "no manifest"),
        (tiny_model.build(metadata="{"), "manifest is not valid"),
        (tiny_model.build(metadata="{}"), "manifest is not valid"),
        (tiny_model.build(metadata=with_manifest(input_size=3)), "input_size"),
        (tiny_model.build(metadata=with_manifest(surprise=1)), "surprise"),
        (tiny_model.build(metadata=with_manifest(threshold={"value": 1.5, "rule": ""})), "threshold.value"),
        (tiny_model.build(pixel_type=onnx.TensorProto.FLOAT), "'pixels' is tensor(float), not tensor(uint8)"),
        (tiny_model.build(size=64), "[?, 64, 64], not [?, 32, 32]"),
        (tiny_model.build(novelty=False), "no output 'novelty'"),
        (tiny_model.build(extra_output=True), "'logit'"),
    ],
)
def test_a_file_that_breaks_the_contract_is_refused_in_one_sentence(
    model_folder: Path, content: bytes, complaint: str
) -> None:
    assert complaint in refusal(model_folder, content)


def tensor(name: str, kind: str, *shape: int | str) -> SimpleNamespace:
    """What onnxruntime tells of an input or output."""
    return SimpleNamespace(name=name, type=f"tensor({kind})", shape=list(shape))


PIXELS = tensor("pixels", "uint8", "N", 32, 32)
PROBABILITY = tensor("probability", "float", "N")
NOVELTY = tensor("novelty", "float", "N")


@pytest.mark.parametrize(
    ("inputs", "outputs", "complaint"),
    [
        ([], [PROBABILITY, NOVELTY], "its inputs are none, not 'pixels' alone"),
        ([tensor("image", "uint8", "N", 32, 32)], [PROBABILITY, NOVELTY], "its inputs are 'image'"),
        ([PIXELS, tensor("seed", "int64")], [PROBABILITY, NOVELTY], "its inputs are 'pixels', 'seed'"),
        ([tensor("pixels", "uint8", 1, 32, 32)], [PROBABILITY, NOVELTY], "[1, 32, 32], not [?, 32, 32]"),
        ([tensor("pixels", "uint8", "N", 32, 32, 3)], [PROBABILITY, NOVELTY], "[?, 32, 32, 3]"),
        ([tensor("pixels", "uint8", "N", "H", "W")], [PROBABILITY, NOVELTY], "[?, ?, ?]"),
        ([PIXELS], [NOVELTY], "no output 'probability'"),
        ([PIXELS], [tensor("probability", "double", "N"), NOVELTY], "'probability' is tensor(double)"),
        ([PIXELS], [tensor("probability", "float", "N", 1), NOVELTY], "'probability' has 2 axes, not 1"),
        ([PIXELS], [PROBABILITY, NOVELTY, tensor("classes", "float", "N", 2)], "[?, 2], not [?, 3]"),
        ([PIXELS], [PROBABILITY, NOVELTY, tensor("heatmap", "float", "N", 7, 7, 1)], "'heatmap' has 4 axes"),
        ([PIXELS], [PROBABILITY, NOVELTY, tensor("embedding", "float", "N", 8)], "'embedding'"),
    ],
)
def test_a_wrong_tensor_is_named(inputs: list[Any], outputs: list[Any], complaint: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        check_tensors(inputs, outputs, tiny_model.manifest())
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("files", "precision", "provider", "chosen"),
    [
        ({"model.onnx", "model.int8.onnx"}, "auto", "cpu", "model.int8.onnx"),
        ({"model.onnx", "model.int8.onnx"}, "auto", "cuda", "model.onnx"),
        ({"model.onnx", "model.int8.onnx"}, "float16", "cpu", "model.onnx"),
        ({"model.onnx", "model.int8.onnx"}, "int8", "cuda", "model.int8.onnx"),
        ({"model.onnx"}, "auto", "cpu", "model.onnx"),
        ({"model.int8.onnx"}, "auto", "cpu", "model.int8.onnx"),
    ],
)
def test_the_file_suits_precision_and_provider(
    model_folder: Path, files: set[str], precision: Any, provider: ProviderName, chosen: str
) -> None:
    for name in files:
        (model_folder / name).touch()
    assert choose_file(model_folder, precision, provider).name == chosen


@pytest.mark.parametrize(("present", "precision"), [("model.onnx", "int8"), ("model.int8.onnx", "float16")])
def test_a_missing_file_is_named(model_folder: Path, present: str, precision: Any) -> None:
    (model_folder / present).touch()
    with pytest.raises(ModelFileError, match=r"The model file .+\.onnx does not exist\."):
        choose_file(model_folder, precision, "cpu")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"The model folder .+nowhere does not exist\."):
        Classifier.open(tmp_path / "nowhere")


def test_a_pinned_digest_is_held(tiny_folder: Path) -> None:
    path = tiny_folder / "model.onnx"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_file(path, digest.upper()).sha256 == digest
    with pytest.raises(ModelFileError, match="is demanded"):
        read_file(path, "0" * 64)
