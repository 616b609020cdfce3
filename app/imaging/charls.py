"""JPEG-LS by CharLS, in a process of its own.

On some damaged frames CharLS takes minutes and holds Python's lock all the while, so that the whole service would
stand still. This file is that process's program too: a frame comes on standard input, and on standard output go a
byte that tells how components are interleaved, and the samples.
"""

import subprocess
import sys

SECONDS = 10
"""Processor time, and time by the clock, that a frame may take."""


def decode(frame: bytes) -> tuple[int, bytes]:
    """How the components of a frame are interleaved (0 by plane), and its samples, one or two bytes each.

    Raises:
        ValueError: the frame is damaged.
    """
    program = [sys.executable, "-I", "-B", __file__, str(SECONDS)]
    try:
        ended = subprocess.run(  # noqa: S603 - the program is this file
            program,
            input=frame,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=True,
        )
    except subprocess.SubprocessError:
        raise ValueError("CharLS cannot decode the frame, or not in time.") from None
    return ended.stdout[0], ended.stdout[1:]


def _main() -> None:
    import resource  # noqa: PLC0415 - only the process itself needs these

    import jpeg_ls  # noqa: PLC0415

    seconds = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))  # whatever becomes of the parent
    samples, header = jpeg_ls.decode_pixel_data(sys.stdin.buffer.read())
    sys.stdout.buffer.write(bytes([header["interleave_mode"]]))
    sys.stdout.buffer.write(samples)


if __name__ == "__main__":
    _main()
