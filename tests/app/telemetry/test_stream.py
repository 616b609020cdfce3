"""A log whose reader stalls."""

import contextlib
import json
import os
import pty
import select
from collections.abc import Iterator

import pytest

from app.telemetry.stream import UnblockedStream


@pytest.fixture
def pipe() -> Iterator[tuple[int, UnblockedStream]]:
    reader, writer = os.pipe()
    yield reader, UnblockedStream(writer)
    os.close(reader)
    os.close(writer)


def test_what_a_reader_takes_it_gets(pipe: tuple[int, UnblockedStream]) -> None:
    reader, stream = pipe
    stream.write("one\n")
    stream.write("zwölf \udcff\n")
    assert os.read(reader, 100) == "one\nzwölf \\udcff\n".encode()


@pytest.mark.parametrize("length", [10, select.PIPE_BUF, 3 * select.PIPE_BUF + 5])
def test_lines_for_a_reader_that_stalls_are_lost_whole_and_counted(
    pipe: tuple[int, UnblockedStream], length: int
) -> None:
    reader, stream = pipe
    line = json.dumps({"message": "x" * length}) + "\n"
    written = 0
    while not stream.lost:
        stream.write(line)
        written += 1
    for _ in range(6):
        stream.write(line)
    lost, written = stream.lost, written + 6
    got = b""
    os.set_blocking(reader, False)
    while written:
        try:
            got += os.read(reader, 65536)
        except BlockingIOError:
            stream.write(line)
            written += 1
            if b"lost" in got:
                break
    got += os.read(reader, 65536)
    messages = [json.loads(line) for line in got.decode().splitlines()]
    told = [message["lines"] for message in messages if message["message"] == "log lines were lost"]
    assert told[0] >= lost
    assert sum(told) + len(messages) - len(told) == written


def test_a_reader_that_is_gone_is_an_error_and_no_wait() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with pytest.raises(BrokenPipeError):
            UnblockedStream(writer).write("one\n")
    finally:
        os.close(writer)


@pytest.mark.parametrize("own", [True, False], ids=["own terminal", "somebody else's"])
def test_a_terminal_that_nobody_reads_keeps_nobody_waiting(
    own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: int) -> str:
        raise PermissionError

    if not own:
        monkeypatch.setattr(os, "ttyname", refused)
    keyboard, terminal = pty.openpty()
    try:
        stream = UnblockedStream(terminal)
        for _ in range(1000):
            stream.write("x" * 700 + "\n")
        assert stream.lost > 0
        assert os.get_blocking(terminal) == own
        os.set_blocking(keyboard, False)
        got = b""
        while b"lost" not in got:
            with contextlib.suppress(BlockingIOError):
                got += os.read(keyboard, 65536)
            stream.write("one\n")
        assert got.startswith(b"x" * 700 + b"\r\n")
    finally:
        os.close(keyboard)
        os.close(terminal)
