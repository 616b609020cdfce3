"""Ray Serve: dynamic request batching, and as many replicas as are asked for.

https://docs.ray.io/en/latest/serve/advanced-guides/dyn-req-batch.html
"""

import asyncio

import ray
from ray import serve
from starlette.datastructures import UploadFile
from starlette.requests import Request

from benchmarks.peers.film import BATCH_WAIT_SECONDS, MAX_BATCH, ON_CUDA, PORT, WORKERS, decode
from benchmarks.peers.model import Model, threads_a_worker

OBJECT_STORE_BYTES = 200 * 1024 * 1024


@serve.deployment(
    num_replicas=WORKERS,
    max_ongoing_requests=4 * MAX_BATCH,
    ray_actor_options={"num_cpus": 1, "num_gpus": 1 if ON_CUDA else 0},
)
class Pneumonia:
    """One replica."""

    def __init__(self) -> None:
        self.model = Model(threads_a_worker())

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_WAIT_SECONDS)
    async def judge(self, films: list[bytes]) -> list[float]:
        """A batch's probabilities."""
        pixels = await asyncio.gather(*(asyncio.to_thread(decode, film) for film in films))
        return await asyncio.to_thread(self.model, list(pixels))

    async def __call__(self, request: Request) -> dict[str, float]:
        """One film's probability."""
        async with request.form() as form:
            upload = form["file"]
            if not isinstance(upload, UploadFile):
                raise TypeError("the field holds no file")
            return {"probability": await self.judge(await upload.read())}


if __name__ == "__main__":
    ray.init(include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(
        Pneumonia.bind(),  # type: ignore[attr-defined]
        route_prefix="/predict",
        blocking=True,
    )
