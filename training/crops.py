"""Crops of films to the lungs, found by their darkness; for an ablation (docs/ablations.md)."""

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from training.dataset import Pixels

SMALL = 56
MARGIN = 0.08
LEAST = 0.6
"""A box narrower or lower than this share of the film is no pair of lungs."""


def to_lungs(pixels: Pixels) -> Pixels:
    """Each film's lungs with a margin, squashed back to the film's size: uint8, [films, size, size].

    A film on which no lungs are found stays as it is.
    """
    return np.stack([_cropped(film) for film in pixels])


def _cropped(film: Pixels) -> Pixels:
    size = len(film)
    top, bottom, left, right = (round(edge * size) for edge in lung_box(film))
    box = Image.fromarray(film).crop((left, top, right, bottom))
    return np.asarray(box.resize((size, size), Image.Resampling.BILINEAR))


def lung_box(film: Pixels) -> tuple[float, float, float, float]:
    """Top, bottom, left and right of the lungs as shares of the film's side; the whole film if not found."""
    small = np.asarray(Image.fromarray(film).resize((SMALL, SMALL), Image.Resampling.BOX))
    if small.min() == small.max():
        return 0.0, 1.0, 0.0, 1.0
    dark = small < _otsu(small)
    parts, count = ndimage.label(ndimage.binary_opening(dark, iterations=1))
    # What touches the film's edge is air around the body.
    edge = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    areas = {part: int((parts == part).sum()) for part in range(1, count + 1) if part not in edge}
    lungs = [part for part, area in areas.items() if area > 0.02 * SMALL**2]
    if not lungs:
        return 0.0, 1.0, 0.0, 1.0
    rows, columns = np.nonzero(np.isin(parts, lungs))
    top, bottom = rows.min() / SMALL - MARGIN, (rows.max() + 1) / SMALL + MARGIN
    left, right = columns.min() / SMALL - MARGIN, (columns.max() + 1) / SMALL + MARGIN
    if bottom - top < LEAST or right - left < LEAST:
        return 0.0, 1.0, 0.0, 1.0
    return max(top, 0.0), min(bottom, 1.0), max(left, 0.0), min(right, 1.0)


def _otsu(grey: npt.NDArray[np.uint8]) -> int:
    """The grey level that parts dark from bright best (Otsu, 1979)."""
    counts = np.bincount(grey.ravel(), minlength=256).astype(np.float64)
    below = np.cumsum(counts)
    sums = np.cumsum(counts * np.arange(256))
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return int(np.nanargmax(between)) + 1
