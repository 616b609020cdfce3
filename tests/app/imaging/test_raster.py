import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app import imaging
from tests import radiographs

SIZE = 16
RAMP = np.tile(np.linspace(0, 255, SIZE).astype(np.uint8), (SIZE, 1))
"""A ramp from black on the left to white on the right, already of the model's size: no resize blurs it."""


def corners(pixels: np.ndarray[Any, Any]) -> tuple[int, ...]:
    """Top left, top right, bottom left, bottom right."""
    return tuple(int(pixels[y, x]) for y in (0, -1) for x in (0, -1))


@pytest.mark.parametrize(
    ("encoded", "tolerance"),
    [
        pytest.param(radiographs.png(RAMP), 0, id="greyscale PNG"),
        pytest.param(radiographs.png(RAMP, "RGB"), 0, id="RGB PNG"),
        pytest.param(radiographs.png(RAMP, "RGBA"), 0, id="RGBA PNG"),
        pytest.param(radiographs.png(RAMP, "LA"), 0, id="LA PNG"),
        pytest.param(radiographs.png(RAMP, "P"), 0, id="palette PNG"),
        pytest.param(radiographs.png(RAMP, "16 bit"), 0, id="16-bit PNG"),
        pytest.param(radiographs.png(RAMP, "12 bit"), 0, id="12 bits in a 16-bit PNG"),
        pytest.param(radiographs.interlaced_png(RAMP), 0, id="interlaced PNG"),
        pytest.param(radiographs.jpeg(RAMP, quality=100), 2, id="greyscale JPEG"),
        pytest.param(radiographs.jpeg(RAMP, "RGB", quality=100), 2, id="RGB JPEG"),
        pytest.param(radiographs.jpeg(RAMP, "CMYK", quality=100), 3, id="CMYK JPEG"),
        pytest.param(radiographs.jpeg(RAMP, quality=100, progressive=True), 2, id="progressive JPEG"),
    ],
)
def test_every_mode_and_bit_depth_gives_the_same_grey_levels(encoded: bytes, tolerance: int) -> None:
    film = imaging.read(encoded, size=SIZE)
    assert film.pixels.dtype == np.uint8
    assert np.abs(film.pixels.astype(int) - RAMP).max() <= tolerance


def test_one_bit_is_black_or_white() -> None:
    halves = np.repeat(np.array([0, 255], np.uint8), SIZE // 2)[None].repeat(SIZE, 0)
    assert np.array_equal(imaging.read(radiographs.png(halves, "1"), size=SIZE).pixels, halves)


@pytest.mark.parametrize(("mode", "bits"), [("L", 8), ("16 bit", 16), ("12 bit", 12)])
def test_significant_bits_are_told(mode: Any, bits: int) -> None:
    assert imaging.read(radiographs.png(RAMP, mode), size=SIZE).bits == bits


def test_transparent_is_black() -> None:
    colour = Image.new("RGBA", (SIZE, SIZE), (255, 255, 255, 255))
    colour.paste((255, 255, 255, 0), (0, 0, SIZE // 2, SIZE))
    palette = colour.quantize(4)
    for image in (colour, colour.convert("LA"), palette):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        assert corners(imaging.read(buffer.getvalue(), size=SIZE).pixels) == (0, 255, 0, 255), image.mode


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("encode", [radiographs.jpeg, radiographs.png])
def test_every_exif_orientation_is_turned_upright(orientation: int, encode: Any) -> None:
    film = radiographs.draw(96, 64)
    film[:16, :24] = 255  # a marker that no turn leaves where it was
    film[:16, -24:] = 0
    read = imaging.read(encode(film, orientation=orientation), size=32)
    upright = imaging.read(encode(film), size=32)
    assert (read.width, read.height) == (96, 64)
    assert np.abs(read.pixels.astype(int) - upright.pixels).mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_film_for_the_eye_is_upright_at_its_own_size(orientation: int) -> None:
    film = radiographs.draw(96, 64)
    upright = imaging.read_upright(radiographs.png(film, orientation=orientation))
    assert upright.size == (96, 64)
    assert np.array_equal(np.asarray(upright), film)


def test_the_film_for_the_eye_is_shrunk_above_a_limit() -> None:
    film = radiographs.draw(400, 300)
    for encoded in (radiographs.jpeg(film), radiographs.png(film, "16 bit")):
        shrunk = imaging.read_upright(encoded, shrink_to=30_000)
        assert shrunk.size == (200, 150)
        assert shrunk.mode == "L"


@pytest.mark.parametrize("seed", range(4))
def test_drafted_and_full_decoding_agree(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = radiographs.jpeg(radiographs.draw(1400, 1100, seed=seed, opacity=bool(seed % 2)))
    drafted = imaging.read(encoded, size=64).pixels.astype(int)
    monkeypatch.setattr("app.imaging.raster.DRAFT_FACTOR", 1000)
    full = imaging.read(encoded, size=64).pixels.astype(int)
    assert not np.array_equal(drafted, full), "the draft must differ, else this compares a thing with itself"
    assert np.abs(drafted - full).mean() < 0.6
    assert np.percentile(np.abs(drafted - full), 99) <= 5


def test_a_corrupt_exif_block_does_not_spoil_a_good_film() -> None:
    film = radiographs.draw()
    exif = b"Exif\0\0MM\0\x2a\xff\xff\xff\xff" + bytes(range(64))
    read = imaging.read(radiographs.jpeg(film, exif=exif), size=32)
    assert np.array_equal(read.pixels, imaging.read(radiographs.jpeg(film), size=32).pixels)


def test_a_second_picture_in_a_camera_file_is_ignored() -> None:
    film = radiographs.draw()
    buffer = io.BytesIO()
    Image.fromarray(film).save(
        buffer, "MPO", save_all=True, append_images=[Image.fromarray(255 - film)], quality=92
    )
    read = imaging.read(buffer.getvalue(), size=32)
    assert read.format == "JPEG"
    assert np.array_equal(read.pixels, imaging.read(radiographs.jpeg(film), size=32).pixels)


@pytest.mark.parametrize(
    ("encoded", "error"),
    [
        pytest.param(b"", imaging.UnreadableImage, id="empty"),
        pytest.param(radiographs.jpeg(radiographs.draw())[:3000], imaging.UnreadableImage, id="cut JPEG"),
        pytest.param(radiographs.png(radiographs.draw())[:3000], imaging.UnreadableImage, id="cut PNG"),
        pytest.param(b"\xff\xd8\xff", imaging.UnreadableImage, id="JPEG signature alone"),
        pytest.param(b"\x89PNG\r\n\x1a\n", imaging.UnreadableImage, id="PNG signature alone"),
        pytest.param(b"Dear colleague,", imaging.UnsupportedImage, id="text"),
        pytest.param(radiographs.gif(RAMP), imaging.UnsupportedImage, id="GIF"),
        pytest.param(radiographs.animated_png(RAMP), imaging.UnsupportedImage, id="animated PNG"),
        pytest.param(radiographs.png_claiming(40_000, 40_000), imaging.TooManyPixels, id="40,000 squared"),
        pytest.param(radiographs.png_claiming(9_000, 9_000), imaging.TooManyPixels, id="9,000 squared"),
    ],
)
def test_bad_files_are_told_apart(encoded: bytes, error: type[Exception]) -> None:
    for read in (lambda: imaging.read(encoded, size=SIZE), lambda: imaging.read_upright(encoded)):
        with pytest.raises(error):
            read()


def test_exposure_is_measured_on_the_square() -> None:
    exposure = imaging.read(radiographs.png(RAMP), size=SIZE).exposure
    assert exposure.brightness == pytest.approx(RAMP.mean())
    assert 200 <= exposure.contrast <= 255
    flat = imaging.read(radiographs.png(np.full((20, 20), 7, np.uint8)), size=SIZE).exposure
    assert (flat.brightness, flat.contrast) == (7, 0)
