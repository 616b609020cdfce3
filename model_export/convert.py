"""Keras → ONNX in single precision → in half precision."""

import copy
import tempfile
from pathlib import Path
from typing import Any

import keras
import onnx
import onnx.compose
import onnx.utils
import onnxruntime
import tensorflow as tf
import tf2onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from app.engine.manifest import METADATA_KEY, Manifest
from model_export.deployable import READING

OPSET = 18


def to_onnx(model: keras.Model) -> onnx.ModelProto:
    """The deployable model as an ONNX graph in single precision.

    Keras 3 models are taken through a traced function, as `tf2onnx.convert.from_keras` does not know them.
    """
    side = model.inputs[0].shape[1]
    signature = [tf.TensorSpec((None, side, side), tf.uint8, name="pixels")]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def answer(pixels: Any) -> Any:
        return model(pixels, training=False)

    proto, _ = tf2onnx.convert.from_function(answer, input_signature=signature, opset=OPSET)
    _name_batch_dimension(proto)
    return _fold(proto)


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with its backbone in half precision; inputs, outputs and the reading stay as they are.

    The graph is cut where the reading begins, as squared distances there overflow half precision.
    """
    reading = set(reading_nodes(model))
    made = {name for node in model.graph.node if node.name not in reading for name in node.output}
    taken = {name for node in model.graph.node if node.name in reading for name in node.input}
    seam = sorted(made & taken)
    noted = copy.deepcopy(model)
    noted.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in seam
    )
    extractor = onnx.utils.Extractor(noted)
    trunk = extractor.extract_model(["pixels"], seam)
    rest = extractor.extract_model(seam, [output.name for output in model.graph.output])
    half = convert_float_to_float16(trunk, keep_io_types=True)
    for part in (half, rest):
        del part.graph.value_info[:]
    merged: onnx.ModelProto = onnx.compose.merge_models(half, rest, io_map=[(name, name) for name in seam])
    return merged


def reading_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes after the backbone, which neither half precision nor int8 touches."""
    return [node.name for node in model.graph.node if f"/{READING}" in node.name]


def with_manifest(model: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    """A copy that carries the manifest in its metadata."""
    signed = copy.deepcopy(model)
    onnx.helper.set_model_props(signed, {METADATA_KEY: manifest.model_dump_json()})
    return signed


def _name_batch_dimension(model: onnx.ModelProto) -> None:
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "N"


def _fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constants and batch normalisation folded into the convolutions, by ONNX Runtime's basic optimisations."""
    with tempfile.TemporaryDirectory() as folder:
        folded = Path(folder) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folded)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(folded)
