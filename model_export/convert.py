"""Keras → ONNX in single precision → in half precision."""

import copy
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnx.compose
import onnx.utils
import onnxruntime
import tensorflow as tf
import tf2onnx
from keras import layers
from onnxruntime.transformers.float16 import convert_float_to_float16

from app.engine.manifest import METADATA_KEY, Manifest
from model_export.deployable import READING

OPSET = 18


def to_onnx(model: keras.Model) -> onnx.ModelProto:
    """The deployable model as an ONNX graph in single precision.

    Keras 3 models are taken through a traced function, as `tf2onnx.convert.from_keras` does not know them.
    """
    model = keras.models.clone_model(model, clone_function=_traceable, recursive=True)
    side = model.inputs[0].shape[1]
    signature = [tf.TensorSpec((None, side, side), tf.uint8, name="pixels")]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def answer(pixels: Any) -> Any:
        return model(pixels, training=False)

    proto, _ = tf2onnx.convert.from_function(
        answer, input_signature=signature, opset=OPSET, custom_op_handlers={"Erfc": (_erfc, [])}
    )
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
    # Both halves may hold the same constant, of which each needs its own.
    rest = onnx.compose.add_prefix(
        rest,
        "after/",
        rename_nodes=False,
        rename_inputs=False,
        rename_outputs=False,
        rename_value_infos=False,
    )
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


class _GroupedConv2D(layers.Conv2D):  # type: ignore[misc]
    """A grouped convolution in plain TensorFlow: Keras compiles its own by XLA, which tf2onnx cannot read."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """The convolution without bias and activation, feature maps [batch, h, w, channels]."""
        return tf.nn.convolution(
            inputs, kernel, list(self.strides), self.padding.upper(), dilations=list(self.dilation_rate)
        )


def _traceable(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The layer itself, or what says the same and can be traced for tf2onnx."""
    if isinstance(layer, layers.Conv2D) and layer.groups > 1:
        grouped = _GroupedConv2D.from_config(layer.get_config())
        grouped.build_from_config(layer.get_build_config())
        grouped.set_weights(layer.get_weights())
        return grouped
    if isinstance(layer, layers.Normalization) and not layer.invert:
        # It holds its mean as a tensor from outside the function, which would become an input of the graph.
        mean, variance = (keras.ops.convert_to_numpy(part) for part in (layer.mean, layer.variance))
        scale = 1 / np.maximum(np.sqrt(variance), keras.config.epsilon())
        return layers.Rescaling(
            scale.tolist(), offset=(-mean * scale).tolist(), name=layer.name, dtype=layer.dtype_policy
        )
    return layer


def _erfc(graph: Any, node: Any, _name: str, _arguments: Any) -> None:
    """1 − erf, of which ONNX has only the latter; TensorFlow's GELU is made of it."""
    one = graph.make_const(tf2onnx.utils.make_name("one"), np.float32(1).reshape(()))
    erf = graph.make_node("Erf", node.input)
    node.type = "Sub"
    graph.replace_inputs(node, [one.output[0], erf.output[0]])


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
