"""LitServe: dynamic batching, and as many workers as are asked for.

https://lightning.ai/docs/litserve/features/batching
"""

import litserve
from fastapi import Request, UploadFile

from benchmarks.peers.film import BATCH_WAIT_SECONDS, MAX_BATCH, ON_CUDA, PORT, WORKERS, Pixels, decode
from benchmarks.peers.model import Model, threads_a_worker


class Pneumonia(litserve.LitAPI):
    """setup → decode → batch → predict → unbatch → encode."""

    def setup(self, device: str) -> None:
        """Open the model in this worker."""
        self.model = Model(threads_a_worker())

    def decode_request(self, request: Request) -> Pixels:
        """An upload to pixels. What comes of a multipart `Request` is its form."""
        upload: UploadFile = request["file"]
        return decode(upload.file.read())

    def batch(self, inputs: list[Pixels]) -> list[Pixels]:
        """A batch stays a list; the model stacks it."""
        return inputs

    def predict(self, x: list[Pixels]) -> list[float]:
        """A batch's probabilities."""
        return self.model(x)

    def unbatch(self, output: list[float]) -> list[float]:
        """One answer a film."""
        return output

    def encode_response(self, output: float) -> dict[str, float]:
        """The answer's body."""
        return {"probability": output}


if __name__ == "__main__":
    server = litserve.LitServer(
        Pneumonia(max_batch_size=MAX_BATCH, batch_timeout=BATCH_WAIT_SECONDS),
        accelerator="cuda" if ON_CUDA else "cpu",
        devices=1,
        workers_per_device=WORKERS,
    )
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False)
