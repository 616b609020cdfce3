"""From the public data set to a fine-tuned Keras model and an honest report."""
