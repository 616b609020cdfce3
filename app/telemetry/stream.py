"""Where log lines go: a stream that loses lines rather than keep the service waiting."""

import atexit
import io
import os
import select
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO, cast


def log_stream() -> TextIO:
    """Standard error, unblocked where the system can tell that it is ready; nowhere if it was closed."""
    if sys.stderr is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if not hasattr(select, "poll"):
        return sys.stderr
    return cast("TextIO", UnblockedStream(sys.stderr.fileno()))


class UnblockedStream(io.TextIOBase):
    """Writes to a file handle only what it takes at once.

    A log's reader that stalls would stop the whole service as soon as the pipe between them is full, since lines
    are written by the thread that answers requests. What the pipe does not take is lost, and a line says how many
    lines that were. A pipe that is ready takes `PIPE_BUF` bytes without blocking (POSIX, `write`); a terminal
    promises nothing of that kind.
    """

    def __init__(self, handle: int) -> None:
        """Write to `handle`, which stays open when this is closed."""
        super().__init__()
        self._handle = handle
        self._unblocked = _unblocked_terminal(handle) if os.isatty(handle) else handle
        self._poll = select.poll()
        self._poll.register(self._unblocked, select.POLLOUT)
        self._rest = b""
        self.lost = 0
        """Lines that were lost and not told of yet."""

    def writable(self) -> bool:
        """True."""
        return True

    def isatty(self) -> bool:
        """Whether people watch."""
        return os.isatty(self._handle)

    def fileno(self) -> int:
        """The handle."""
        return self._handle

    def write(self, text: str) -> int:
        """Write one or more whole lines, as far as the reader takes them.

        Raises:
            OSError: the file cannot be written to: its disk is full, or its reader gone.
        """
        self._rest = self._sent(self._rest)  # a long line may have been taken in part
        if self._rest:
            self.lost += 1
            return len(text)
        told = f'{{"level": "warning", "message": "log lines were lost", "lines": {self.lost}}}\n'
        line = ((told if self.lost else "") + text).encode(errors="backslashreplace")
        rest = self._sent(line)
        if len(rest) == len(line):
            self.lost += 1
        else:
            self._rest, self.lost = rest, 0
        return len(text)

    def _sent(self, data: bytes) -> bytes:
        """What of `data` the reader does not take at once."""
        with suppress(BlockingIOError):
            while data and self._poll.poll(0):
                data = data[os.write(self._unblocked, data[: select.PIPE_BUF]) :]
        return data


def _unblocked_terminal(handle: int) -> int:
    """A handle of the same terminal that does not block.

    It is opened anew, since whoever has inherited `handle`, the shell for one, would not block either. Where the
    terminal belongs to another user (sudo), that is what happens until the process ends.
    """
    try:
        return os.open(os.ttyname(handle), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        os.set_blocking(handle, False)
        atexit.register(_block_again, handle)
        return handle


def _block_again(handle: int) -> None:
    with suppress(OSError):
        os.set_blocking(handle, True)
