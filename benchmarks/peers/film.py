"""How a peer was started, and how it decodes a film: Pillow, as the documentation of any of them would."""

import io
import os

import numpy as np
import numpy.typing as npt
from PIL import Image

PORT = int(os.environ.get("BENCH_PORT", "8000"))
WORKERS = int(os.environ.get("BENCH_WORKERS", "1"))
CORES = len(os.sched_getaffinity(0))
ON_CUDA = os.environ.get("BENCH_DEVICE", "cpu") == "cuda"
MAX_BATCH = 32 if ON_CUDA else 4
BATCH_WAIT_SECONDS = 0.002
SIZE = int(os.environ.get("BENCH_INPUT_SIZE", "224"))

Pixels = npt.NDArray[np.uint8]


def decode(film: bytes) -> Pixels:
    """The film as uint8, [SIZE, SIZE], 0 black."""
    with Image.open(io.BytesIO(film)) as image:
        return square(image)


def square(image: Image.Image) -> Pixels:
    """The picture as uint8, [SIZE, SIZE], 0 black."""
    return np.asarray(image.convert("L").resize((SIZE, SIZE), Image.Resampling.BILINEAR))
