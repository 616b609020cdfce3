"""Plain FastAPI and ONNX Runtime: a sync route in FastAPI's thread pool, one session, one film a run.

https://fastapi.tiangolo.com/tutorial/request-files/
"""

from typing import Annotated

import uvicorn
from fastapi import FastAPI, File

from benchmarks.peers.film import PORT, decode
from benchmarks.peers.model import Model

app = FastAPI()
model = Model()


@app.post("/predict")
def predict(file: Annotated[bytes, File()]) -> dict[str, float]:
    """One film's probability."""
    (probability,) = model([decode(file)])
    return {"probability": probability}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT)
