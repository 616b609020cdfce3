"""Single precision → int8, calibrated on training films."""

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from model_export.convert import reading_nodes

CALIBRATION_FILMS = 128


class _Films(CalibrationDataReader):  # type: ignore[misc]
    """Films one at a time: a calibration of many at once holds every activation in memory."""

    def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
        self.batches = iter(pixels[:, None])

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        """The next feed, or None at the end."""
        batch = next(self.batches, None)
        return None if batch is None else {"pixels": batch}


def to_int8(model: onnx.ModelProto, pixels: npt.NDArray[np.uint8]) -> onnx.ModelProto:
    """The graph with its convolutions in int8 (static, QDQ).

    Unsigned activations and signed weights a channel in a reduced range: the form that is fast and does not
    overflow on processors without VNNI. The reading stays in float32.

    Args:
        model: the single-precision graph.
        pixels: films to calibrate the ranges on, uint8 [films, side, side]; the first 128 are used.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, prepared, target = (Path(folder) / name for name in ("fp32", "prepared", "int8"))
        onnx.save(model, source)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            _Films(pixels[:CALIBRATION_FILMS]),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=["Conv", "Add", "MaxPool"],
            nodes_to_exclude=[*reading_nodes(model), *_normalisation(model)],
        )
        return onnx.load(target)


def _normalisation(model: onnx.ModelProto) -> list[str]:
    """Nodes before the first convolution: grey levels less a mean need their precision."""
    names = [node.name for node in model.graph.node]
    first = next((i for i, node in enumerate(model.graph.node) if node.op_type == "Conv"), 0)
    return names[:first]
