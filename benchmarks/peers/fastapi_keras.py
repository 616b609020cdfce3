"""FastAPI and Keras: `Model.predict` in a sync route, as Keras's own pages and most tutorials do.

Without a file it serves an untrained ResNet50 of the same shape, which is as fast and knows nothing.
"""

import os
import threading
from typing import Annotated

import keras
import uvicorn
from fastapi import FastAPI, File

from benchmarks.peers.film import PORT, SIZE, decode


def load() -> keras.Model:
    """The network: grey levels, [N, SIZE, SIZE, 1], to logits."""
    if path := os.environ.get("BENCH_KERAS"):
        return keras.models.load_model(path, compile=False)
    films = keras.Input((SIZE, SIZE, 1))
    channels = keras.layers.Concatenate()([films, films, films])
    trunk = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=channels)
    features = keras.layers.GlobalAveragePooling2D()(trunk.output)
    return keras.Model(films, keras.layers.Dense(2)(features))


app = FastAPI()
model = load()
# Keras does not promise that `predict` may run in several threads at once.
one_at_a_time = threading.Lock()


@app.post("/predict")
def predict(file: Annotated[bytes, File()]) -> dict[str, float]:
    """One film's probability."""
    film = decode(file)[None, ..., None].astype("float32")
    with one_at_a_time:
        logit = float(model.predict(film, verbose=0)[0, 0])
    return {"probability": float(keras.ops.sigmoid(logit))}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT)
