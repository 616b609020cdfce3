"""A session run on buffers that stay on the device, by onnxruntime's I/O binding."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime


@dataclass(frozen=True, slots=True)
class _Buffers:
    pixels: Any
    binding: Any


class BoundSession:
    """Copies the pixels into a buffer that is kept for each batch size, and the outputs back in one go.

    Only the film's bytes cross to the device, and nothing there is allocated anew for a size that was run before.
    """

    def __init__(self, session: Any, outputs: list[str], *, device: str, device_id: int) -> None:
        """Bind nothing yet.

        Args:
            session: an `onnxruntime.InferenceSession`.
            outputs: names of the outputs that are wanted.
            device: "cuda" or "cpu": where the buffers lie, in onnxruntime's words.
            device_id: which of several such devices.
        """
        self._session = session
        self._outputs = outputs
        self._place = (device, device_id)
        self._buffers: dict[tuple[int, ...], _Buffers] = {}

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        """The outputs, in the order of their names, for `pixels` (uint8, [N, S, S])."""
        buffers = self._buffers.get(pixels.shape) or self._bind(pixels.shape)
        buffers.pixels.update_inplace(pixels)
        self._session.run_with_iobinding(buffers.binding)
        answers: list[npt.NDArray[np.float32]] = buffers.binding.copy_outputs_to_cpu()
        return answers

    def _bind(self, shape: tuple[int, ...]) -> _Buffers:
        pixels = onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(shape), np.uint8, *self._place)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("pixels", pixels)
        for name in self._outputs:
            binding.bind_output(name, *self._place)
        self._buffers[shape] = _Buffers(pixels, binding)
        return self._buffers[shape]
