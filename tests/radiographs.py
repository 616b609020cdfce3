"""Synthetic chest films: drawn, seeded, and encoded every way that a film may arrive.

They look enough like a chest film for a decoder, a page and a person; a model learns nothing from them.
`python -m tests.radiographs FILE.jpg` draws one.
"""

import io
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

ORIENTATION_TAG = 0x0112


def draw(
    width: int = 480, height: int = 400, *, seed: int = 0, opacity: bool = False
) -> npt.NDArray[np.uint8]:
    """A chest film, uint8, [height, width], 0 black: lungs, ribs, spine, heart, and perhaps an opacity."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    x = x + random.normal(0, 0.02)
    shoulders = 0.80 + 0.22 * np.exp(-(((y + 0.78) / 0.30) ** 2))
    neck = _soft(0.24 - np.abs(x), 0.12) * _soft(-0.7 - y, 0.2)
    body = np.maximum(_soft(shoulders - np.abs(x) - 0.9 * np.maximum(0, -0.72 - y), 0.14), 0.8 * neck)
    lungs = np.zeros_like(x)
    for side in (-1, 1):
        v = (y + 0.08) / 0.64
        lean = 0.40 + 0.07 * v
        u = (side * x - lean) / (0.27 + 0.05 * v)
        lungs = np.maximum(lungs, _soft(1 - (np.abs(u) ** 2.4 + np.abs(v) ** 2.8), 0.35))
    lungs *= _soft(0.50 + 0.09 * np.cos(3 * (np.abs(x) - 0.40)) - y, 0.10)
    heart = _soft(1 - (((x - 0.12) / 0.29) ** 2 + ((y - 0.28) / 0.33) ** 2), 0.45)
    lungs *= 1 - 0.72 * heart
    film = 0.05 + body * (0.50 + 0.10 * _soft(y - 0.45, 0.2) - 0.36 * lungs + 0.10 * heart)
    film += 0.14 * body * np.exp(-((x / 0.09) ** 2)) * (1 - 0.5 * heart)
    for row in np.linspace(-0.80, 0.55, 10):
        arc = row + 0.34 * np.abs(x) - 0.50 * (np.abs(x) - 0.40) ** 2
        film += (0.06 * lungs + 0.02 * body) * np.exp(-(((y - arc) / 0.030) ** 2))
        film -= 0.03 * lungs * np.exp(-(((y - arc - 0.06) / 0.030) ** 2))
    clavicle = -0.62 - 0.16 * np.abs(x) + 0.10 * np.abs(x) ** 2
    film += 0.11 * body * np.exp(-(((y - clavicle) / 0.026) ** 2)) * _soft(np.abs(x) - 0.10, 0.06)
    for side in (-1, 1):
        hilum = ((side * x - 0.19) / 0.12) ** 2 + ((y + 0.02) / 0.19) ** 2
        film += 0.10 * np.exp(-hilum) * (1 + 0.8 * _noise(random, film.shape, 22))
    film += lungs * (0.045 * _noise(random, film.shape, 12) + 0.035 * _noise(random, film.shape, 48))
    if opacity:
        patch = np.exp(-(((x + 0.42) / 0.17) ** 2 + ((y - 0.20) / 0.20) ** 2))
        film += 0.26 * patch * (0.9 + 0.35 * _noise(random, film.shape, 14)) * np.maximum(lungs, 0.2)
    film += random.normal(0, 0.010, film.shape)
    pixels: Pixels = (255 * np.clip(film, 0, 1)).astype(np.uint8)
    return pixels


def jpeg(
    pixels: Pixels,
    mode: Literal["L", "RGB", "CMYK"] = "L",
    *,
    quality: int = 92,
    progressive: bool = False,
    orientation: int | None = None,
    exif: bytes | None = None,
) -> bytes:
    """The film as a JPEG file; with `orientation`, stored turned so that it is upright once that is applied."""
    image = Image.fromarray(pixels)
    if orientation is not None:
        image = _turned(image, orientation)
        exif = _exif(orientation)
    buffer = io.BytesIO()
    options = {} if exif is None else {"exif": exif}
    image.convert("RGB" if mode == "CMYK" else mode).convert(mode).save(
        buffer, "JPEG", quality=quality, progressive=progressive, **options
    )
    return buffer.getvalue()


def png(
    pixels: Pixels,
    mode: Literal["L", "RGB", "RGBA", "LA", "P", "1", "16 bit", "12 bit"] = "L",
    *,
    orientation: int | None = None,
) -> bytes:
    """The film as a PNG file. In "12 bit", samples of 12 bits lie unscaled in 16."""
    image = Image.fromarray(pixels)
    if orientation is not None:
        image = _turned(image, orientation)
    if mode == "16 bit":
        image = Image.fromarray((np.asarray(image).astype(np.uint16) * 257).astype(np.uint16))
    elif mode == "12 bit":
        image = Image.fromarray(np.rint(np.asarray(image) * (4095 / 255)).astype(np.uint16))
    elif mode != "L":
        image = image.convert(mode)
    buffer = io.BytesIO()
    options = {} if orientation is None else {"exif": _exif(orientation)}
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def interlaced_png(pixels: Pixels) -> bytes:
    """The film as an 8-bit greyscale PNG in Adam7 order, which Pillow reads but does not write."""
    import struct
    import zlib

    height, width = pixels.shape
    passes = (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    )
    rows = b"".join(
        b"\0" + row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx] if row.size
    )

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its few bytes do not hold."""
    import struct
    import zlib

    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = b"IDAT" + zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, content, b"IEND")
    )


def animated_png(pixels: Pixels) -> bytes:
    """An animated PNG of two frames."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer, "PNG", save_all=True, append_images=[Image.fromarray(255 - pixels)], duration=100
    )
    return buffer.getvalue()


def gif(pixels: Pixels) -> bytes:
    """The film as a GIF, which is not read."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "GIF")
    return buffer.getvalue()


def _soft(distance: npt.NDArray[np.float64], width: float) -> npt.NDArray[np.float64]:
    """1 where `distance` is well above 0, 0 well below, smooth between."""
    result: npt.NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(distance / width, -40, 40) * 3))
    return result


def _noise(random: np.random.Generator, shape: tuple[int, ...], cells: int) -> npt.NDArray[np.float64]:
    """Smooth noise of zero mean and about unit range, with `cells` cells along a side."""
    coarse = Image.fromarray(random.normal(0, 0.5, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), dtype=np.float64)


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return exif.tobytes()


_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """`image` as a camera held in `orientation` would store it."""
    return image.transpose(_STORED[orientation]) if orientation in _STORED else image


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(jpeg(draw(seed=1, opacity=True)))
