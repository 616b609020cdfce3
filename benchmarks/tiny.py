"""A model of the service's contract that costs next to nothing, so that a soak wears the service out alone."""

import datetime
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from app.engine.manifest import METADATA_KEY, Calibration, Manifest, Threshold, Training
from app.engine.model_file import FLOAT_FILE

SIZE = 32


def write(folder: Path) -> Path:
    """The model in `folder`: the probability is the film's mean grey level, from 0 to 1."""
    node, value = helper.make_node, helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            node("Cast", ["pixels"], ["levels"], to=TensorProto.FLOAT),
            node("ReduceMean", ["levels", "space"], ["level"], keepdims=0),
            node("Div", ["level", "white"], ["probability"]),
        ],
        "tiny",
        [value("pixels", TensorProto.UINT8, ["N", SIZE, SIZE])],
        [value("probability", TensorProto.FLOAT, ["N"])],
        [
            helper.make_tensor("space", TensorProto.INT64, [2], [1, 2]),
            helper.make_tensor("white", TensorProto.FLOAT, [], [255.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    manifest = Manifest(
        name="tiny",
        version="1",
        created=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        architecture="mean grey level",
        precision="float16",
        input_size=SIZE,
        threshold=Threshold(value=0.5, rule="chosen by hand"),
        calibration=Calibration(temperature=1.0),
        training=Training(command="none"),
        licence="Apache-2.0",
        intended_use="measuring",
    )
    helper.set_model_props(model, {METADATA_KEY: manifest.model_dump_json()})
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / FLOAT_FILE)
    return folder / FLOAT_FILE
