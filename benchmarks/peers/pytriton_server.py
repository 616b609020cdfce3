"""PyTriton: Triton Inference Server in front of Python, with its dynamic batcher, over its HTTP protocol.

https://triton-inference-server.github.io/pytriton/latest/
"""

from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.film import BATCH_WAIT_SECONDS, MAX_BATCH, PORT, WORKERS, decode
from benchmarks.peers.model import Model, threads_a_worker


def instance() -> Any:
    """One instance of the model."""
    model = Model(threads_a_worker())

    @batch
    def judge(film: Any) -> dict[str, Any]:
        probabilities = model([decode(upload) for upload in film[:, 0]])
        return {"probability": np.array(probabilities, np.float32)[:, None]}

    return judge


if __name__ == "__main__":
    config = TritonConfig(
        http_address="127.0.0.1", http_port=PORT, allow_grpc=False, allow_metrics=False, exit_timeout_secs=5
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="pneumonia",
            infer_func=[instance() for _ in range(WORKERS)],
            inputs=[Tensor(name="film", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="probability", dtype=np.float32, shape=(1,))],
            config=ModelConfig(
                max_batch_size=MAX_BATCH,
                batcher=DynamicBatcher(max_queue_delay_microseconds=int(BATCH_WAIT_SECONDS * 1e6)),
            ),
        )
        triton.serve()
