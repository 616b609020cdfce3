"""Films that show the same picture: of identical bytes, or alike to a perceptual hash.

The hash is the DCT hash (Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010):
which of the lowest frequencies of the decoded film lie above their median. Its usual 64 bits cannot tell one
upright chest from another; 16 × 16 frequencies can."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.fft import dct
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from training.dataset import Film, Pixels

FREQUENCIES = 16
BITS = FREQUENCIES**2 - 1
LIMIT = 24
"""Most bits in which near duplicates differ.

Measured on the public training films: copies of 1,000 of them in JPEG quality 50, half the size, or another gamma
(0.8) or contrast (0.8) differ in 20 at most; no two different files in less than 40. A film turned by one degree
differs from itself in 24 (median)."""
_BLOCK = 512

Hashes = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """How alike films are.

    `groups`: indices of the films of each group of near duplicates, at least two different files in each.
    `nearest`: int64 [different files], bits between a file and its nearest other. `closest`: pairs of films
    (their indices) with the bits between them, the closest first."""

    groups: list[Indices]
    nearest: Indices
    closest: list[tuple[int, int, int]]


def hashes(pixels: Pixels) -> Hashes:
    """DCT hash of each film: bool, [films, BITS].

    Args:
        pixels: uint8, [films, size, size].
    """
    waves = dct(np.eye(pixels.shape[1]), axis=0, norm="ortho")[:FREQUENCIES].astype(np.float32)
    found = np.empty((len(pixels), BITS), np.bool_)
    for start in range(0, len(pixels), _BLOCK):
        films = pixels[start : start + _BLOCK].astype(np.float32)
        # The first coefficient is the mean grey level, which says nothing of the picture.
        spectrum = (waves @ films @ waves.T).reshape(len(films), -1)[:, 1:]
        found[start : start + _BLOCK] = spectrum > np.median(spectrum, axis=1, keepdims=True)
    return found


def identical(films: Sequence[Film]) -> list[Indices]:
    """Indices of the films of each group of identical bytes, at least two in each."""
    _, digests = np.unique([film.digest for film in films], return_inverse=True)
    return _groups_of(digests)


def neighbours(films: Sequence[Film], pixels: Pixels, closest: int, limit: int = LIMIT) -> Neighbours:
    """Near duplicates and closest pairs among the different files of `films`.

    Args:
        films: in the order of `pixels`.
        pixels: uint8, [films, size, size].
        closest: how many of the closest pairs are told.
        limit: most bits in which near duplicates differ.
    """
    _, first, files = np.unique([film.digest for film in films], return_index=True, return_inverse=True)
    count = len(first)
    if count < 2:
        return Neighbours([], np.empty(0, np.int64), [])
    signs = np.where(hashes(pixels[first]), 1, -1).astype(np.float32)
    nearest, partner = np.empty(count, np.int64), np.empty(count, np.int64)
    pairs = []
    for start in range(0, count, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, count))
        distances = (BITS - signs[rows] @ signs.T) / 2
        distances[rows - start, rows] = BITS + 1
        partner[rows] = distances.argmin(axis=1)
        nearest[rows] = distances[rows - start, partner[rows]]
        pairs.append(np.argwhere(distances <= limit) + np.array([start, 0]))
    one, other = np.concatenate(pairs).T
    linked = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(count, count))
    _, component = connected_components(linked, directed=False)
    alike = np.bincount(component)[component] > 1
    groups = np.where(alike, component, -1)[files]
    return Neighbours(
        [members for members in _groups_of(groups) if groups[members[0]] >= 0],
        nearest,
        _closest(first, nearest, partner)[:closest],
    )


def _closest(first: Indices, nearest: Indices, partner: Indices) -> list[tuple[int, int, int]]:
    found = {
        (int(nearest[file]), *sorted((int(first[file]), int(first[partner[file]]))))
        for file in range(len(first))
    }
    return [(one, other, distance) for distance, one, other in sorted(found)]


def _groups_of(numbers: Indices) -> list[Indices]:
    """Places that share a number, at least two of each, in the order of their first."""
    order = np.argsort(numbers, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    return sorted((part for part in parts if len(part) > 1), key=lambda part: int(part[0]))
