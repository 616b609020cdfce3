import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.imaging import lossless_jpeg
from tests import dicom_films, radiographs

FILM = radiographs.draw(64, 48)


@given(
    bits=st.integers(2, 16),
    predictor=st.integers(1, 7),
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    seed=st.integers(0, 2**32),
    smooth=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_any_samples_come_back_by_any_predictor(
    bits: int, predictor: int, shape: tuple[int, int], seed: int, smooth: bool
) -> None:
    random = np.random.default_rng(seed)
    if smooth:
        samples = random.integers(0, min(4, 2**bits), shape).cumsum(axis=1) % 2**bits
    else:
        samples = random.choice([0, 2**bits - 1, 2 ** (bits - 1), 1], shape)
    encoded = dicom_films.lossless_jpeg(samples.astype(np.uint16), bits, predictor=predictor)
    assert np.array_equal(lossless_jpeg.decode(encoded), samples)


def deep(width: int, height: int) -> npt.NDArray[np.uint16]:
    grain = np.random.default_rng(0).integers(0, 16, (height, width))
    return (radiographs.draw(width, height).astype(np.uint16) * 16 + grain).astype(np.uint16)


def test_a_film_that_takes_several_blocks_comes_back() -> None:
    film = deep(300, 260)
    encoded = dicom_films.lossless_jpeg(film, 12)
    assert len(encoded) > 2 * lossless_jpeg._BLOCK_BYTES
    assert np.array_equal(lossless_jpeg.decode(encoded), film)


def test_the_lowest_bits_may_have_been_dropped() -> None:
    encoded = dicom_films.lossless_jpeg(deep(64, 48), 12, point_transform=3)
    assert np.array_equal(lossless_jpeg.decode(encoded), deep(64, 48) >> 3 << 3)


def test_restarts_and_several_components_are_told_not_to_be_decoded() -> None:
    with pytest.raises(lossless_jpeg.NotDecoded):
        lossless_jpeg.decode(dicom_films.lossless_jpeg(FILM, 8, restarts=64))
    one = dicom_films.lossless_jpeg(FILM, 8)
    header = one.index(b"\xff\xc3") + 9
    three = one[:header] + b"\x03" + one[header + 1 :]
    with pytest.raises(lossless_jpeg.NotDecoded):
        lossless_jpeg.decode(three)


def test_a_frame_with_a_second_header_is_damaged() -> None:
    one = dicom_films.lossless_jpeg(FILM, 8)
    header, rest = one[2:15], one[15:]
    assert header[:2] == b"\xff\xc3"
    giant = header[:5] + b"\xff\xff\xff\xff" + header[9:]
    with pytest.raises(ValueError, match="two headers"):
        lossless_jpeg.decode(one[:2] + header + giant + rest)


def test_a_frame_of_another_size_is_refused_before_room_is_made_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lossless_jpeg, "_differences", lambda _: pytest.fail("it is decoded"))
    with pytest.raises(ValueError, match="another size"):
        lossless_jpeg.decode(dicom_films.lossless_jpeg(FILM, 8), size=(48, 65))


@pytest.mark.parametrize("cut", [2, 20, 60, 200, -10])
def test_what_is_cut_short_is_damaged(cut: int) -> None:
    with pytest.raises((ValueError, LookupError)):
        lossless_jpeg.decode(dicom_films.lossless_jpeg(FILM, 8)[:cut])


def test_bits_that_are_no_code_are_damage() -> None:
    encoded = dicom_films.lossless_jpeg(FILM, 8)
    begin = encoded.index(b"\xff\xda") + 10
    with pytest.raises(ValueError, match="no code"):
        lossless_jpeg.decode(encoded[:begin] + 3000 * b"\xff\0" + encoded[-2:])
