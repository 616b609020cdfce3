"""From a fine-tuned Keras model to the ONNX files that the service reads."""

import app.engine  # noqa: F401  before anything here imports onnxruntime: it keeps that from reporting home
