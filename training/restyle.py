"""Films in the style of the other class: what a held-out fold of one data set cannot show by itself.

In the public data set style goes with the label, in the held-out fold as in the others, so a network that leans
on style loses nothing there. `restyle` gives each film the tone and the sharpness of a film of the other class,
`reframe` crops it so that the chest takes the other class's shape: what that part of style says is turned round,
what the lungs show stays. Tilt, leads and the like are not changed by either.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.fft import dctn, idctn

from training.dataset import Dataset, Pixels

COARSEST = 8
"""Half waves across the side up to which a film keeps its own spectrum: shapes of organs, not sharpness."""

BAND = 4
LARGEST_GAIN = 4.0
REFRAMED = 0.8
"""Share of a film's height or width that reframing keeps: the ratio of the classes' median shapes."""


def restyle(films: Dataset, seed: int = 0) -> Pixels:
    """Every film with the sharpness, then the tone, of a random film of the other class: uint8, as `pixels`.

    Raises:
        ValueError: one of the classes has no film.
    """
    rng = np.random.default_rng(seed)
    by_class = [np.flatnonzero(films.labels == label) for label in (0, 1)]
    if not all(map(len, by_class)):
        raise ValueError("Only films of both classes can take on each other's style.")
    donors = [rng.choice(by_class[1 - label]) for label in films.labels]
    bands = _bands(films.pixels.shape[1])
    spectra = [_spectrum(film, bands) for film in films.pixels]
    return np.stack(
        [
            match_tone(
                _sharpen(film, bands, spectra[donor] / spectra[place]),
                films.pixels[donor],
            )
            for place, (film, donor) in enumerate(zip(films.pixels, donors, strict=True))
        ]
    )


def reframe(films: Dataset) -> Pixels:
    """Every film cropped, and squashed to the square again, so that the chest has the shape of the other class.

    Normal films of this data set are less wide for their height than films of pneumonia (the median ratio of 60
    originals: 1.22 against 1.5), so that squashing makes the chests of the one broader than those of the other.
    Here a normal film loses a tenth of its height at top and bottom, a film of pneumonia a tenth of its width at
    each side. Returns uint8, as `pixels`.
    """
    size = films.pixels.shape[1]
    edge = round(size * (1 - REFRAMED) / 2)
    across, down = (edge, 0, size - edge, size), (0, edge, size, size - edge)
    return np.stack(
        [
            np.asarray(
                Image.fromarray(film)
                .crop(across if label else down)
                .resize((size, size), Image.Resampling.BILINEAR)
            )
            for film, label in zip(films.pixels, films.labels, strict=True)
        ]
    )


def match_tone(film: npt.NDArray[np.generic], donor: Pixels) -> Pixels:
    """`film` by the rising tone curve that gives it `donor`'s histogram, as near as 256 levels allow.

    Args:
        film: any real type, [size, size]; clipped to 0 to 255.
        donor: uint8, [size, size].
    """
    levels = np.clip(np.rint(film.astype(np.float64)), 0, 255).astype(np.int64)
    counts = np.bincount(levels.ravel(), minlength=256)
    rank = (np.cumsum(counts) - counts / 2) / levels.size
    theirs = np.bincount(donor.ravel(), minlength=256)
    their_rank = (np.cumsum(theirs) - theirs / 2) / donor.size
    held = theirs > 0
    curve = np.interp(rank, their_rank[held], np.flatnonzero(held))
    return np.rint(curve[levels]).astype(np.uint8)


def _bands(size: int) -> npt.NDArray[np.int64]:
    """Which band of spatial frequency each coefficient of a cosine transform is in: [size, size]."""
    frequency = np.hypot(*np.mgrid[:size, :size])
    bands: npt.NDArray[np.int64] = np.maximum((frequency - COARSEST) // BAND + 1, 0).astype(np.int64)
    return bands


def _spectrum(film: Pixels, bands: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Root mean square amplitude in each band."""
    power = dctn(film.astype(np.float64), norm="ortho") ** 2
    counts = np.maximum(np.bincount(bands.ravel()), 1)
    amplitude: npt.NDArray[np.float64] = np.sqrt(np.bincount(bands.ravel(), power.ravel()) / counts + 1e-3)
    return amplitude


def _sharpen(
    film: Pixels, bands: npt.NDArray[np.int64], gains: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """`film` with its amplitude in each band but the coarsest changed by `gains`."""
    limited = np.clip(gains, 1 / LARGEST_GAIN, LARGEST_GAIN)
    limited[0] = 1
    changed: npt.NDArray[np.float64] = idctn(
        dctn(film.astype(np.float64), norm="ortho") * limited[bands], norm="ortho"
    )
    return changed


CHANGES: dict[str, Callable[[Dataset], Pixels]] = {"restyled": restyle, "reframed": reframe}
"""What is done to films before they are judged, by what they then are."""
