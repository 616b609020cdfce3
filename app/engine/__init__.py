"""From a `Radiograph` to a `Finding`, by the model file."""

import os

# From 1.29 on, onnxruntime's Linux builds keep a device id in the user's cache and report every session (the
# model's name and hashes, the hardware) to their maker, unless this is set before they are imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
