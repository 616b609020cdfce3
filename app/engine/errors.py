"""What can go wrong between a radiograph and its finding.

EngineError
├── ModelFileError      the model file is missing, damaged, or not what the contract asks
├── DeviceMissing       CUDA was demanded and is not live
├── DeviceFailed        the device raised, or answered with something that is not a probability
│   ├── OutOfDeviceMemory   so many films at once do not fit
│   └── DeviceLost          the device has not answered for so long that only a new start can help
├── QueueFull           as many films wait as are allowed
├── Warming             the model has not run every batch size yet, or not since the device failed
└── Stopped             the engine has been shut down
"""


class EngineError(RuntimeError):
    """The engine cannot give a finding."""


class ModelFileError(EngineError):
    """The model file is missing, damaged, or not what the contract asks. The message is one sentence."""


class DeviceMissing(EngineError):
    """CUDA was demanded and is not live. The message says why and what would help."""


class DeviceFailed(EngineError):
    """The device raised, or answered with something that is not a probability."""


class OutOfDeviceMemory(DeviceFailed):
    """So many films at once do not fit into the device's memory."""


class DeviceLost(DeviceFailed):
    """The device has not answered for so long that only a new start of the process can help."""


class QueueFull(EngineError):
    """As many films wait as are allowed. `retry_after` is the expected wait in seconds, at least 1."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("As many films are waiting as this service takes.")
        self.retry_after = retry_after


class Warming(EngineError):
    """The model has not run every batch size yet, or not since the device failed.

    `retry_after`: seconds after which a new try makes sense, at least 1.
    """

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Stopped(EngineError):
    """The engine has been shut down."""
