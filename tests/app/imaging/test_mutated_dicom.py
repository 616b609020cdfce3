"""Whatever the bytes behind a DICOM prefix, the decoder answers with a film or with an `ImagingError`."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid

from app import imaging
from app.imaging import charls
from tests import dicom_films, radiographs

FILM = radiographs.draw(40, 32)
DEEP = (FILM.astype(np.uint16) * 16).astype(np.uint16)
LOSSLESS_HERE = [syntax for syntax in dicom_films.LOSSLESS if syntax != uid.JPEGLSLossless]
"""JPEG-LS takes a process for each film, so there are fewer of them below."""
SEEDS = (
    *(dicom_films.encoded(dicom_films.film(DEEP, bits=12), syntax) for syntax in dicom_films.NATIVE),
    *(dicom_films.encoded(dicom_films.film(DEEP, bits=12), syntax) for syntax in LOSSLESS_HERE),
    *(dicom_films.encoded(dicom_films.film(FILM), syntax) for syntax in dicom_films.LOSSY_8_BIT),
    dicom_films.encoded(
        dicom_films.film(
            DEEP,
            bits=12,
            photometric="MONOCHROME1",
            ModalityLUTSequence=dicom_films.lut(range(100), bits=8),
            VOILUTSequence=dicom_films.lut(range(100), bits=8, vr="OW"),
            PixelPaddingValue=7,
        )
    ),
)
PREFIX = bytes(128) + b"DICM"


def read_or_refuse(data: bytes) -> None:
    try:
        film = imaging.read(data, size=16, max_pixels=1_000_000)
    except imaging.ImagingError:
        return
    assert film.pixels.shape == (16, 16)
    assert film.pixels.dtype == np.uint8


@given(st.binary(max_size=300), st.sampled_from((PREFIX, SEEDS[1][:320], SEEDS[1][:700])))
@settings(max_examples=300, deadline=None)
def test_random_bytes(data: bytes, beginning: bytes) -> None:
    read_or_refuse(beginning + data)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        if len(data) <= len(PREFIX):
            break
        at = draw(st.integers(len(PREFIX), len(data) - 1))
        match draw(st.sampled_from(("change", "remove", "insert", "cut"))):
            case "change":
                data[at] = draw(st.integers(0, 255))
            case "remove":
                del data[at : at + draw(st.integers(1, 20))]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=20))
            case _:
                del data[max(at, len(PREFIX) + 20) :]
    return bytes(data)


@given(mutated())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_mutated_films(data: bytes) -> None:
    read_or_refuse(data)


@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_many_small_changes(seed: int) -> None:
    random = np.random.default_rng(seed)
    original = np.frombuffer(SEEDS[seed], np.uint8)
    for _ in range(150):
        changed = original.copy()
        at = random.integers(len(PREFIX), len(original), random.integers(1, 8))
        changed[at] = random.integers(0, 256, len(at))
        read_or_refuse(changed.tobytes())


def test_damaged_jpeg_ls_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charls, "SECONDS", 1)
    original = np.frombuffer(
        dicom_films.encoded(dicom_films.film(DEEP, bits=12), uid.JPEGLSLossless), np.uint8
    )
    random = np.random.default_rng(0)
    for _ in range(20):
        changed = original.copy()
        at = random.integers(len(original) // 2, len(original), 4)
        changed[at] = random.integers(0, 256, len(at))
        read_or_refuse(changed.tobytes())


def test_jpeg_ls_that_takes_too_long_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = dicom_films.encoded(dicom_films.film(DEEP, bits=12), uid.JPEGLSLossless)
    read_or_refuse(encoded)
    monkeypatch.setattr(charls, "SECONDS", 0)
    with pytest.raises(imaging.UnreadableImage):
        imaging.read(encoded, size=16)


def test_sequences_without_an_end_inside_each_other() -> None:
    beginning = dicom_films.encoded(dicom_films.film(FILM))[: -len(FILM.tobytes()) - 12]
    sequence = b"\x28\x00\x10\x30SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    read_or_refuse(beginning + 100_000 * sequence)
