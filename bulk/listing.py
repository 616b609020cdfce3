"""The list of films that OUTPUT is about: written once, in a fixed order, cut into shards.

`listing/part-NNNNNN.parquet` holds up to 64 shards, each a row group of up to 1,000 films. The last part of a
listing is cut into as many, so that its shards are small: a small archive keeps all workers busy, and a large one
ends with small pieces. A shard is named by its part and its row group. Nothing here changes once it is in use:
films that appear later are listed in further parts.
"""

import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from bulk import parquet
from bulk.places import File, Place, order

FOLDER = "listing"
SHARDS_A_PART = 64
MOST_FILMS, LEAST_FILMS = 1000, 16
"""Of a shard: so many that its cost does not count, and so few that one that was lost is soon done again."""

FILM_SUFFIXES = (".jpg", ".jpeg", ".png", ".dcm", ".dicom")
PAINTED = ".heatmap.png"
"""How the pictures that `python -m app predict --heatmap` writes end: they are no films."""
_DICOM_INDEX = "DICOMDIR"

_SCHEMA = pa.schema([("name", pa.binary()), ("bytes", pa.int64()), ("modified", pa.float64())])


class Shard(NamedTuple):
    """Films that are judged together and whose findings are one file."""

    part: int
    group: int

    def __str__(self) -> str:
        return f"{self.part:06}-{self.group:02}"


class Listing(BaseModel):
    """One look through INPUT: which parts it wrote, and what it found.

    `first_part` and `parts`: the numbers of its parts. `shards`: how many there are in all of them. `others`:
    files that were left out since their names are not those of films.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_part: int
    parts: int
    shards: int
    films: int
    others: int

    def all_shards(self) -> Iterator[Shard]:
        """Its shards in their order."""
        for number in range(self.shards):
            yield Shard(self.first_part + number // SHARDS_A_PART, number % SHARDS_A_PART)


def is_film(name: str) -> bool:
    """Whether a file's name may be a film's: one of our kinds, or none at all, as in exports of DICOM."""
    path = PurePosixPath(name)
    if path.name == _DICOM_INDEX or path.name.endswith(PAINTED):
        return False
    suffix = path.suffix.lower()
    return suffix in FILM_SUFFIXES or not suffix or suffix[1:].isdigit()


def has_film(archive: Place) -> bool:
    """Whether there is any film; looks no further than the first. Raises ArchiveRefused."""
    return any(_may_be_film(file) for file in archive.files())


def write(archive: Place, output: Place, earlier: Sequence[Listing] = ()) -> Listing:
    """List the films of `archive` that are in none of the earlier listings; holds one part in memory.

    Raises:
        ArchiveRefused: INPUT cannot be looked through.
        OSError: a part cannot be written.
    """
    others = 0

    def films() -> Iterator[File]:
        nonlocal others
        for file in archive.files():
            if _may_be_film(file):
                yield file
            else:
                others += 1

    first = sum(listing.parts for listing in earlier)
    parts = shards = count = 0
    found = new(films(), known(output, earlier))
    while some := list(islice(found, SHARDS_A_PART * MOST_FILMS)):
        content, groups = _part(some)
        output.put(_name(first + parts), content)
        parts, shards, count = parts + 1, shards + groups, count + len(some)
    return Listing(first_part=first, parts=parts, shards=shards, films=count, others=others)


def _may_be_film(file: File) -> bool:
    return file.unopened or is_film(file.name)


def read(output: Place, shard: Shard) -> list[File]:
    """The films of a shard. Raises OSError and Damaged."""
    with parquet.opened(output, _name(shard.part)) as file:
        return _files(file.read_row_group(shard.group, columns=_SCHEMA.names))


def sizes(output: Place, part: int) -> list[int]:
    """How many films each shard of a part has. Raises OSError and Damaged."""
    with parquet.opened(output, _name(part)) as file:
        return [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]


def known(output: Place, earlier: Iterable[Listing]) -> Iterator[str]:
    """The names in earlier listings, in the order in which places are looked through; holds a shard of each."""

    def names(listing: Listing) -> Iterator[str]:
        for shard in listing.all_shards():
            yield from (file.name for file in read(output, shard))

    return heapq.merge(*map(names, earlier), key=order)


def new(films: Iterator[File], names: Iterator[str]) -> Iterator[File]:
    """The films that are not among `names`; both are in the same order, so neither is held."""
    name = next(names, None)
    for film in films:
        place = order(film.name)
        while name is not None and order(name) < place:
            name = next(names, None)
        if name != film.name:
            yield film


def shard_size(films: int) -> int:
    """Films in each shard of a part with so many."""
    return min(MOST_FILMS, max(LEAST_FILMS, -(-films // SHARDS_A_PART)))


def _name(part: int) -> str:
    return f"{FOLDER}/part-{part:06}.parquet"


def _part(files: Sequence[File]) -> tuple[bytes, int]:
    """A part's content, and its number of shards."""
    table = pa.table(
        [
            [os.fsencode(file.name) for file in files],
            [file.size for file in files],
            [file.modified for file in files],
        ],
        schema=_SCHEMA,
    )
    sink = pa.BufferOutputStream()
    size = shard_size(len(files))
    pq.write_table(table, sink, row_group_size=size, compression="zstd")
    return sink.getvalue().to_pybytes(), -(-len(files) // size)


def _files(table: pa.Table) -> list[File]:
    names, sizes, times = (table[name].to_pylist() for name in _SCHEMA.names)
    return [File(os.fsdecode(name), size, time) for name, size, time in zip(names, sizes, times, strict=True)]
