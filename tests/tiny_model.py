"""A weight-free ONNX of the service's contract, small enough to be built for every test that wants one.

Its heat map is the film's 4 × 4 block means, through `GAIN * (level / 255 - CENTRE)`; the pneumonia logit is
the heat map's mean, so a bright film is PNEUMONIA and a dark one NORMAL. Novelty is the mean level itself.
"""

import datetime
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from app.engine.manifest import (
    Calibration,
    ExposureLimits,
    Manifest,
    Novelty,
    Threshold,
    Training,
    UncertaintyBand,
)

SIZE = 32
GAIN = 40.0
CENTRE = 0.5
BLOCKS = 4
NOVELTY_LIMIT = 240.0

Precision = Literal["float32", "float16", "int8"]


def manifest(*, precision: Precision = "float16", **changes: Any) -> Manifest:
    """A valid manifest for the tiny model."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "version": "1",
        "created": datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC),
        "architecture": "block means",
        "precision": precision,
        "input_size": SIZE,
        "threshold": Threshold(value=0.4, rule="chosen by hand"),
        "calibration": Calibration(temperature=1.0, prevalence=0.5),
        "uncertainty": UncertaintyBand(low=0.3, high=0.6, coverage=0.99, share_of_films=0.05),
        "novelty": Novelty(limit=NOVELTY_LIMIT, share_of_films=0.01, method="mean level"),
        "exposure": ExposureLimits(brightness_low=8, brightness_high=250, contrast_low=2),
        "training": Training(command="none"),
        "licence": "Apache-2.0",
        "intended_use": "tests",
    }
    return Manifest(**(fields | changes))


def build(
    card: Manifest | None = None,
    *,
    heatmap: bool = True,
    classes: bool = True,
    novelty: bool = True,
    nan: Literal["never", "always", "for dark films"] = "never",
    pixel_type: int = TensorProto.UINT8,
    size: int = SIZE,
    metadata: str | None = "manifest",
    extra_output: bool = False,
) -> bytes:
    """The tiny model as the bytes of an ONNX file, with what is asked for missing or wrong."""
    block = size // BLOCKS
    constants = {
        "by_255": np.array(255.0, np.float32),
        "gain": np.array(GAIN, np.float32),
        "centre": np.array(CENTRE, np.float32),
        "one": np.array(1.0, np.float32),
        "bacterial_share": np.array(0.75, np.float32),
        "viral_share": np.array(0.25, np.float32),
        "channel": np.array([1], np.int64),
        "space": np.array([1, 2], np.int64),
        "nothing": np.array(0.0, np.float32),
        "dark": np.array(0.0 if nan == "never" else 1e9 if nan == "always" else 1.0, np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["pixels"], ["levels"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["levels", "channel"], ["image"]),
        node("AveragePool", ["image"], ["pooled"], kernel_shape=[block, block], strides=[block, block]),
        node("Squeeze", ["pooled", "channel"], ["means"]),
        node("Div", ["means", "by_255"], ["shares"]),
        node("Sub", ["shares", "centre"], ["centred"]),
        node("Mul", ["centred", "gain"], ["heatmap"]),
        node("ReduceMean", ["heatmap", "space"], ["logit"], keepdims=0),
        node("ReduceMean", ["levels", "space"], ["novelty"], keepdims=0),
        node("Sigmoid", ["logit"], ["sure"]),
        node("Less", ["novelty", "dark"], ["broken"]),
        node("Div", ["nothing", "nothing"], ["not_a_number"]),
        node("Where", ["broken", "not_a_number", "sure"], ["probability"]),
        node("Sub", ["one", "probability"], ["normal"]),
        node("Mul", ["probability", "bacterial_share"], ["bacterial"]),
        node("Mul", ["probability", "viral_share"], ["viral"]),
        *(
            node("Unsqueeze", [name, "channel"], [f"{name}_column"])
            for name in ("normal", "bacterial", "viral")
        ),
        node("Concat", ["normal_column", "bacterial_column", "viral_column"], ["classes"], axis=1),
    ]
    value = helper.make_tensor_value_info
    outputs = [value("probability", TensorProto.FLOAT, ["N"])]
    if classes:
        outputs.append(value("classes", TensorProto.FLOAT, ["N", 3]))
    if heatmap:
        outputs.append(value("heatmap", TensorProto.FLOAT, ["N", BLOCKS, BLOCKS]))
    if novelty:
        outputs.append(value("novelty", TensorProto.FLOAT, ["N"]))
    if extra_output:
        outputs.append(value("logit", TensorProto.FLOAT, ["N"]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [value("pixels", pixel_type, ["N", size, size])],
        outputs,
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if metadata == "manifest":
        metadata = (card or manifest()).model_dump_json()
    if metadata is not None:
        helper.set_model_props(model, {"manifest": metadata})
    content: bytes = model.SerializeToString()
    return content
