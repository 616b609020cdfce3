"""From a fine-tuned Keras model to the ONNX files that the service reads."""
