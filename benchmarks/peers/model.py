"""The same ONNX file for every peer, in ONNX Runtime with its own defaults."""

import os

import numpy as np
import onnxruntime

from benchmarks.peers.film import CORES, ON_CUDA, WORKERS, Pixels

MODEL = os.environ.get("BENCH_MODEL", "model.onnx")


class Model:
    """One session; `threads` of one operator, all cores if not given."""

    def __init__(self, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or CORES
        providers = ["CPUExecutionProvider"]
        if ON_CUDA:
            onnxruntime.preload_dlls(directory="")
            providers.insert(0, "CUDAExecutionProvider")
        self.session = onnxruntime.InferenceSession(MODEL, options, providers=providers)

    def __call__(self, films: list[Pixels]) -> list[float]:
        """The probability of each film of a batch."""
        (probabilities,) = self.session.run(["probability"], {"pixels": np.stack(films)})
        return [float(probability) for probability in probabilities]


def threads_a_worker() -> int:
    """Threads that leave each of the workers its share of the cores."""
    return max(1, CORES // WORKERS)
