"""Whatever the bytes, the decoder answers with a film or with an `ImagingError`."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import imaging
from tests import radiographs

FILM = radiographs.draw(40, 32)
SEEDS = (
    radiographs.jpeg(FILM),
    radiographs.jpeg(FILM, "CMYK"),
    radiographs.jpeg(FILM, progressive=True, orientation=6),
    radiographs.png(FILM),
    radiographs.png(FILM, "P"),
    radiographs.png(FILM, "RGBA", orientation=8),
    radiographs.png(FILM, "16 bit"),
    radiographs.animated_png(FILM),
    radiographs.interlaced_png(FILM),
)


def read_or_refuse(data: bytes) -> None:
    try:
        film = imaging.read(data, size=16, max_pixels=1_000_000)
    except imaging.ImagingError:
        return
    assert film.pixels.shape == (16, 16)
    assert film.pixels.dtype == np.uint8


@given(st.binary(max_size=200), st.sampled_from((b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")))
@settings(max_examples=300, deadline=None)
def test_random_bytes(data: bytes, signature: bytes) -> None:
    read_or_refuse(signature + data)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.sampled_from(("change", "remove", "insert", "cut"))):
            case "change":
                data[at] = draw(st.integers(0, 255))
            case "remove":
                del data[at : at + draw(st.integers(1, 20))]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=20))
            case _:
                del data[max(at, 20) :]
        if len(data) < 2:
            break
    return bytes(data)


@given(mutated())
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_mutated_films(data: bytes) -> None:
    read_or_refuse(data)


@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_many_small_changes(seed: int) -> None:
    random = np.random.default_rng(seed)
    original = np.frombuffer(SEEDS[seed], np.uint8)
    for _ in range(300):
        changed = original.copy()
        at = random.integers(0, len(original), random.integers(1, 8))
        changed[at] = random.integers(0, 256, len(at))
        read_or_refuse(changed.tobytes())
