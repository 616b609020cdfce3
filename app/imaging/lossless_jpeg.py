"""Lossless JPEG (ITU-T T.81, annex H) of one component, up to 16 bits a sample, in NumPy.

No library whose licence suits decodes it: Pillow reads 8 bits of it, and GDCM ends the process on some files.
Where the next code begins is not known before this one is read; but how long a code would be can be looked up for
all bits of the scan at once, so that what is left to do one by one is to step from code to code.
"""

import itertools
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Differences = npt.NDArray[np.int32]

_BLOCK_BYTES = 2**15
_LONGEST_CODE = 16
_WORD_BYTES = 5
"""A code, its extra bits and the bits before it in its first byte fit into these."""
_SHIFTS = np.arange(8 * _WORD_BYTES - _LONGEST_CODE, 8 * _WORD_BYTES - _LONGEST_CODE - 8, -1)
_MASK = 0xFFFF
_NO_CODE = 255
_FRAME, _HUFFMAN, _SCAN, _RESTARTS = 0xC3, 0xC4, 0xDA, 0xDD


class NotDecoded(ValueError):
    """Several components, or restarts: allowed by the standard, but not decoded here."""


@dataclass(frozen=True, slots=True)
class _Scan:
    """What the headers say, and the entropy-coded bytes."""

    rows: int
    columns: int
    bits: int
    predictor: int
    point_transform: int
    lengths: npt.NDArray[np.uint8]
    categories: npt.NDArray[np.uint8]
    content: bytes


def decode(data: bytes, *, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint16]:
    """The samples of a frame: uint16, [rows, columns].

    Args:
        data: the frame.
        size: rows and columns that it must have, which are looked at before there is room made for any sample.

    Raises:
        NotDecoded: it has several components or restarts.
        ValueError, LookupError, struct.error: it is damaged or cut short, or of another size.
    """
    scan = _parsed(data)
    if size is not None and (scan.rows, scan.columns) != size:
        raise ValueError("The frame is of another size.")
    differences = _differences(scan).reshape(scan.rows, scan.columns)
    differences[0, 0] += 1 << (scan.bits - scan.point_transform - 1)
    samples = _undone(differences, scan.predictor) & _MASK
    return (samples << scan.point_transform).astype(np.uint16)


def _parsed(data: bytes) -> _Scan:
    tables: dict[int, tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]] = {}
    frame: tuple[int, int, int, int] | None = None
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("A marker is missing.")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        segment = data[at + 4 : at + 2 + length]
        at += 2 + max(2, length)
        if marker == _FRAME:
            if frame is not None:
                raise ValueError("The frame has two headers.")
            frame = struct.unpack_from(">BHHB", segment)
        elif marker == _HUFFMAN:
            tables |= _huffman_tables(segment)
        elif marker == _RESTARTS and struct.unpack_from(">H", segment)[0]:
            raise NotDecoded("The frame has restarts.")
        elif marker == _SCAN:
            break
    if frame is None:
        raise ValueError("The frame has no header.")
    bits, rows, columns, components = frame
    if components != 1 or segment[0] != 1:
        raise NotDecoded("The frame has several components.")
    _, _, table, predictor, _, transform = segment[:6]
    lengths, categories = tables[table >> 4]
    point_transform = transform & 0x0F
    if not (2 <= bits <= 16 and 1 <= predictor <= 7 and point_transform < bits and rows and columns):
        raise ValueError("The frame's header is impossible.")
    content = data[at:].replace(b"\xff\0", b"\xff")
    return _Scan(rows, columns, bits, predictor, point_transform, lengths, categories, content)


def _huffman_tables(segment: bytes) -> dict[int, tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]:
    """By their number: for each 16 bits, the length of the code that they begin with, and its category."""
    found = {}
    while segment:
        number, counts = segment[0] & 0x0F, segment[1 : 1 + _LONGEST_CODE]
        symbols = segment[1 + _LONGEST_CODE : 1 + _LONGEST_CODE + sum(counts)]
        if len(symbols) != sum(counts) or max(symbols, default=0) > 16:
            raise ValueError("A Huffman table is cut short or not one of differences.")
        lengths = np.full(2**_LONGEST_CODE, _NO_CODE, np.uint8)
        categories = np.zeros(2**_LONGEST_CODE, np.uint8)
        begin, place = 0, 0
        for length, count in enumerate(counts, 1):
            for symbol in symbols[place : place + count]:
                end = begin + 2 ** (_LONGEST_CODE - length)
                lengths[begin:end], categories[begin:end] = length, symbol
                begin = end
            place += count
        if begin > 2**_LONGEST_CODE:
            raise ValueError("A Huffman table has too many codes.")
        found[number] = lengths, categories
        segment = segment[1 + _LONGEST_CODE + len(symbols) :]
    return found


def _differences(scan: _Scan) -> Differences:
    """The differences to the guesses, one a sample, in the order of the scan."""
    found = np.empty(scan.rows * scan.columns, np.int32)
    extra = np.where(scan.categories < 16, scan.categories, 0).astype(np.uint8)
    steps_of = np.where(scan.lengths == _NO_CODE, _NO_CODE, scan.lengths + extra).astype(np.uint8)
    content = np.frombuffer(scan.content + bytes(_BLOCK_BYTES + _WORD_BYTES), np.uint8)
    done, begin = 0, 0
    for byte in range(0, len(scan.content), _BLOCK_BYTES):
        words = np.zeros(_BLOCK_BYTES, np.int64)
        for place in range(_WORD_BYTES):
            words = words << 8 | content[byte + place : byte + place + _BLOCK_BYTES]
        codes = (words[:, None] >> _SHIFTS).astype(np.uint16).ravel()  # the 16 bits from each bit on
        steps = steps_of[codes].tobytes()
        places = []
        at = begin
        while at < len(steps):
            places.append(at)
            at += steps[at]
        begin = at - len(steps)
        chosen = np.array(places[: len(found) - done])
        codes = codes[chosen]
        lengths = steps_of[codes]
        if (lengths == _NO_CODE).any() or 8 * byte + chosen[-1] + lengths[-1] > 8 * len(scan.content):
            raise ValueError("The scan has bits that are no code, or it is cut short.")
        categories = extra[codes].astype(np.int64)
        values = (words[chosen // 8] >> (8 * _WORD_BYTES - chosen % 8 - lengths)) & ((1 << categories) - 1)
        values -= np.where(values < 1 << categories >> 1, (1 << categories) - 1, 0)
        found[done : done + len(chosen)] = np.where(scan.categories[codes] == 16, 2**15, values)
        done += len(chosen)
        if done == len(found):
            return found
    raise ValueError("The scan is cut short.")


def _undone(differences: Differences, predictor: int) -> Differences:
    """Samples, modulo 2 ** 16, from their differences to the guess that `predictor` names (table H.1).

    On the first line the guess is the sample before, and at the begin of a line the one above.
    """
    if predictor == 1:
        differences[:, 0] = np.cumsum(differences[:, 0])
        return np.cumsum(differences, axis=1, dtype=np.int32)
    if predictor == 4:
        return np.cumsum(np.cumsum(differences, axis=0, dtype=np.int32), axis=1, dtype=np.int32)
    differences[0] = np.cumsum(differences[0])
    if predictor == 2:
        return np.cumsum(differences, axis=0, dtype=np.int32)
    for above, line in itertools.pairwise(differences):
        above &= _MASK  # noqa: PLW2901 - in place
        line[0] += above[0]
        if predictor == 3:
            line[1:] += above[:-1]
        elif predictor == 5:
            line[1:] += np.diff(above) >> 1
            line[:] = np.cumsum(line)
        else:
            line[:] = _line_undone(line.tolist(), above.tolist(), predictor)
    return differences


def _line_undone(line: list[int], above: list[int], predictor: int) -> list[int]:
    """The same for one line by a predictor whose rounding lets no sample be worked out before the last one."""
    before = line[0] & _MASK
    samples = [before]
    for difference, over, diagonal in zip(line[1:], above[1:], above, strict=False):
        guess = over + ((before - diagonal) >> 1) if predictor == 6 else (before + over) >> 1
        before = (difference + guess) & _MASK
        samples.append(before)
    return samples
