"""The uploads that every target is sent: full-size films of a folder, or synthetic ones of the same size."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = {".jpg", ".jpeg", ".png"}
MOST_FILMS = 64
DRAWN_FILMS = 16
WIDTH, HEIGHT = 1300, 900
QUALITY = 90


class NoFilms(ValueError):
    """The folder holds no film."""


def load(folder: Path | None) -> list[bytes]:
    """The first 64 JPEG and PNG files below `folder` in the order of their names, or 16 drawn films.

    Raises:
        NoFilms: there is none.
    """
    if folder is None:
        return [draw(WIDTH, HEIGHT, seed=seed) for seed in range(DRAWN_FILMS)]
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise NoFilms(f"{folder} holds no JPEG or PNG file.")
    return [path.read_bytes() for path in paths[:MOST_FILMS]]


def draw(width: int, height: int, *, seed: int = 0) -> bytes:
    """A greyscale JPEG of about `width` × `height` pixels: a chest's rough shape, with texture and grain.

    The size varies by a tenth with the seed. A decoder works about as hard on it as on a film; a person sees
    none.
    """
    random = np.random.default_rng(seed)
    width, height = (int(side * random.uniform(0.9, 1.1)) for side in (width, height))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    body = 1 / (1 + np.exp(12 * (np.abs(x) - 0.8)))
    lungs = sum(np.exp(-(((x - side * 0.42) / 0.3) ** 4) - ((y + 0.1) / 0.65) ** 4) for side in (-1, 1))
    ribs = np.sin(16 * (y - 0.35 * np.abs(x))) * lungs
    coarse = Image.fromarray(random.normal(0, 1, (48, 64)).astype(np.float32))
    texture = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    film = body * (0.62 - 0.36 * lungs + 0.05 * ribs + 0.03 * texture) + 0.05
    film += random.normal(0, 0.008, film.shape)
    return encode(Image.fromarray((255 * np.clip(film, 0, 1)).astype(np.uint8)))


def resized(film: bytes, width: int) -> bytes:
    """The film as a greyscale JPEG that is `width` pixels wide, its shape kept."""
    with Image.open(io.BytesIO(film)) as image:
        height = max(1, round(image.height * width / image.width))
        return encode(image.convert("L").resize((width, height), Image.Resampling.BICUBIC))


def encode(image: Image.Image) -> bytes:
    """The picture as a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def digest(films: Sequence[bytes]) -> str:
    """SHA-256 over the films in their order."""
    return hashlib.sha256(b"".join(hashlib.sha256(film).digest() for film in films)).hexdigest()


def describe(films: Sequence[bytes]) -> str:
    """In words: how many, and their median size."""
    sizes = []
    for film in films:
        with Image.open(io.BytesIO(film)) as image:
            sizes.append(image.size)
    width, height = np.median(sizes, axis=0).astype(int)
    kilobytes = np.median([len(film) for film in films]) / 1000
    return f"{len(films)} films, median {width} × {height} pixels and {kilobytes:.0f} kB"
