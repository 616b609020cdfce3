"""Parquet files of OUTPUT, whose damage is told in words."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from bulk.errors import Damaged
from bulk.places import Place


@contextmanager
def opened(place: Place, name: str) -> Iterator[pq.ParquetFile]:
    """A file of OUTPUT, to be read in the block.

    Raises:
        Damaged: its content, or what the block looks for in it, is not what was written.
        OSError: it cannot be read.
    """
    try:
        with place.open(name) as file:
            yield pq.ParquetFile(file)
    except (pa.ArrowException, LookupError) as error:
        raise Damaged(place.shown, name) from error
    except OSError as error:
        if error.errno is not None:
            raise
        # So pyarrow tells of bytes that make no sense.
        raise Damaged(place.shown, name) from error
