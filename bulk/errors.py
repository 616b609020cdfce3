"""What ends a run before all films are judged.

BulkError
├── ArchiveRefused     INPUT is not there, is empty, or cannot be looked through
├── OutputRefused      OUTPUT was begun with something else, or cannot be written
├── WorkerRefused      a worker cannot run the model
├── Damaged            a file of OUTPUT is not what was written
└── Unfinished         results could not be written, or the cluster failed: the same command goes on

What is wrong with single films, such as NoRegularFile, ends nothing: each has a row that says so.
"""


class BulkError(RuntimeError):
    """A run that cannot begin or go on. The message is for the person who started it."""


class ArchiveRefused(BulkError):
    """INPUT is not there, is empty, or cannot be looked through."""


class OutputRefused(BulkError):
    """OUTPUT was begun with something else, or cannot be written."""


class WorkerRefused(BulkError):
    """A worker cannot run the model."""


class Damaged(BulkError):
    """A file of OUTPUT is not what was written, or cannot be read."""

    def __init__(self, shown: str, name: str) -> None:
        super().__init__(f"{shown}/{name} is damaged, or cannot be read.")


class Unfinished(BulkError):
    """Results could not be written, or the cluster failed: the same command goes on."""


class NoRegularFile(OSError):
    """A device, a pipe or a socket, which is not opened: some wait for ever, and some never end."""
