"""Stored samples → grey levels, 0 black, in DICOM's order (PS3.4 N.2): Modality LUT, VOI LUT, inversion last.

All of it works on single samples, so it is worked out once for every value that a sample can have, and the film is
looked up in that table.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from app.imaging.dicom_samples import Layout, Samples

Values = npt.NDArray[np.float64]
Stored = npt.NDArray[np.int64]
Chosen = npt.NDArray[np.bool_]
Table = npt.NDArray[np.uint8]

ATTRIBUTES = (
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "PresentationLUTShape",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
)
"""What is looked at here."""

_BAND_PIXELS = 2**20
_MOST_ENTRIES = 2**16
_GREATEST_VALUE = 2.0**32
"""What no rescaled sample reaches: beyond it, a window would see but black and white."""


def table(dataset: Dataset, layout: Layout, samples: Samples, *, little_endian: bool) -> Table:
    """The grey level of each bit pattern of a sample: uint8, [2 ** bits_allocated], 0 black.

    The first VOI LUT is taken, else the first window; where there is neither, or the window is impossible or makes
    one level of all possible values, the whole range of a film of 8 bits and less, and the range in use of
    one of more. Padding is black.

    Args:
        dataset: the film's attributes.
        layout: how its samples are stored.
        samples: uint8 or uint16, [rows, columns], as bit patterns.
        little_endian: the byte order of the data set, in which a LUT may be written.

    Raises:
        ValueError: values are rescaled to impossible ones.
    """
    stored = _stored_values(np.arange(2**layout.bits_allocated), layout)
    padding = _is_padding(stored, dataset, layout)
    values = _modality(stored, dataset, little_endian=little_endian)
    shares = _values_of_interest(values, dataset, little_endian=little_endian)
    if shares is None or (not dataset.get("VOILUTSequence") and _is_one_level(shares[~padding])):
        used = ~padding if layout.bits_stored <= 8 else ~padding & _in_use(samples, len(stored))
        shares = _spread(values, used)
    if layout.photometric == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        shares = 1 - shares
    levels: Table = np.rint(255 * shares).astype(np.uint8)
    levels[padding] = 0
    return levels


def looked_up(levels: Table, samples: Samples) -> npt.NDArray[np.uint8]:
    """The grey levels of `samples`: uint8, [rows, columns], 0 black."""
    film = np.empty(samples.shape, np.uint8)
    for band in _bands(samples):
        film[band] = levels[samples[band]]
    return film


def _bands(samples: Samples) -> Iterator[slice]:
    """Rows that are worked on together: NumPy needs eight bytes for each sample that it looks up."""
    rows, columns = samples.shape
    height = max(1, _BAND_PIXELS // columns)
    return (slice(top, top + height) for top in range(0, rows, height))


def _stored_values(patterns: Stored, layout: Layout) -> Stored:
    values: Stored = (patterns >> (layout.high_bit + 1 - layout.bits_stored)) & (2**layout.bits_stored - 1)
    if layout.signed:
        values -= (values >> (layout.bits_stored - 1)) << layout.bits_stored
    return values


def _is_padding(stored: Stored, dataset: Dataset, layout: Layout) -> Chosen:
    """Which values stand where there is no film (PS3.3 C.7.5.1.1.2)."""
    one = _integer(dataset, "PixelPaddingValue")
    if one is None:
        return np.zeros(stored.shape, np.bool_)
    other = _integer(dataset, "PixelPaddingRangeLimit")
    # Some writers give a signed value as if it were unsigned.
    whole = layout.high_bit + 1 - layout.bits_stored
    ends = np.array([one, one if other is None else other]) << whole
    low, high = sorted(_stored_values(ends, layout).tolist())
    padding: Chosen = (stored >= low) & (stored <= high)
    return padding


def _modality(stored: Stored, dataset: Dataset, *, little_endian: bool) -> Values:
    """Modality LUT (PS3.3 C.11.1)."""
    if sequence := dataset.get("ModalityLUTSequence"):
        entries, _ = _mapped(stored, sequence[0], little_endian=little_endian)
        return entries
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    with np.errstate(over="ignore"):
        values = stored.astype(np.float64) * (slope or 1.0) + (intercept or 0.0)
    if not (np.abs(values) < _GREATEST_VALUE).all():
        raise ValueError("RescaleSlope or RescaleIntercept is impossible.")
    return values


def _is_one_level(shares: Values) -> bool:
    levels = np.rint(255 * shares)
    return bool((levels == levels[:1]).all())


def _values_of_interest(values: Values, dataset: Dataset, *, little_endian: bool) -> Values | None:
    """VOI LUT or window (PS3.3 C.11.2): from 0 to 1, None where there is neither."""
    if sequence := dataset.get("VOILUTSequence"):
        entries, highest = _mapped(values, sequence[0], little_endian=little_endian)
        return entries / highest
    centre, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if centre is None or width is None or width <= 0 or (function == "LINEAR" and width < 1):
        return None
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if function != "LINEAR":
        raise ValueError("The standard has no such VOILUTFunction.")
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _mapped(values: Stored | Values, item: Dataset, *, little_endian: bool) -> tuple[Values, float]:
    """`values` through the LUT in `item`, and the highest entry that the LUT may have."""
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    count = count % _MOST_ENTRIES or _MOST_ENTRIES
    entries = _entries(item["LUTData"].value, count, bits, little_endian=little_endian)
    # Whether the first value mapped is signed follows from the values, which not every writer minds.
    if first >= _MOST_ENTRIES // 2 and values.min() < 0:
        first -= _MOST_ENTRIES
    elif first < 0 <= values.min():
        first += _MOST_ENTRIES
    places = np.clip(np.rint(values) - first, 0, count - 1).astype(np.int64)
    return entries[places], max(2.0**bits - 1, float(entries.max()))


def _entries(data: Any, count: int, bits: int, *, little_endian: bool) -> Values:
    """A LUT's entries: words, or where they have 8 bits perhaps bytes, two to a word."""
    order = "<" if little_endian else ">"
    if not 8 <= bits <= 16:
        raise ValueError("The standard has no LUT of so many bits.")
    if not isinstance(data, bytes):
        data = np.atleast_1d(np.asarray(data, np.int64)).astype(f"{order}u2").tobytes()
    kind = f"{order}u2" if len(data) >= 2 * count else np.uint8
    if kind is np.uint8 and not little_endian:
        data = np.frombuffer(data[: len(data) // 2 * 2], np.uint16).byteswap().tobytes()
    return np.frombuffer(data, kind, count).astype(np.float64)


def _in_use(samples: Samples, patterns: int) -> Chosen:
    """Which bit patterns the film has."""
    used = np.zeros(patterns, np.bool_)
    for band in _bands(samples):
        used |= np.bincount(samples[band].ravel(), minlength=patterns) > 0
    return used


def _spread(values: Values, used: Chosen) -> Values:
    """From 0 for the least of the values in use to 1 for the greatest."""
    if not used.any():
        return np.zeros(values.shape)
    low, high = float(values[used].min()), float(values[used].max())
    return np.clip((values - low) / ((high - low) or 1.0), 0, 1)


def _number(dataset: Dataset, keyword: str) -> float | None:
    """An attribute's first value, None where there is none or it is no number."""
    value = dataset.get(keyword)
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    if value is None or value == "":
        return None
    number = float(value)
    return number if np.isfinite(number) else None


def _integer(dataset: Dataset, keyword: str) -> int | None:
    number = _number(dataset, keyword)
    return None if number is None else int(number)
