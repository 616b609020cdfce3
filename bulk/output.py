"""OUTPUT: what a run was begun with, the list of films, and the shards that are done.

    run.json                          what rows depend on, and the listings that are whole; there before all else
    model.onnx                        what judges, so that every worker of a cluster has the same
    listing/part-NNNNNN.parquet       the films, see `bulk.listing`
    findings/NNNNNN-NN.parquet        a row for each film of a shard; there once the shard is done
    refused/NNNNNN-NN.parquet         those rows of it that have no finding, if there are any; written before

A shard is done when its findings are there, and nothing else is kept of the progress: so whatever ends a run, and
however often a shard is done, each film has one row. Nothing is written where there is no run and another has left
a file that is called like one of ours; and only where there is a run is anything deleted, by the names above.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Literal, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, ValidationError

from bulk import findings, listing, parquet
from bulk.errors import OutputRefused
from bulk.listing import Listing, Shard
from bulk.places import Place

RUN, MODEL = "run.json", "model.onnx"
FINDINGS, REFUSED = "findings", "refused"
_SUFFIX = ".parquet"
_MOST_BYTES, _MOST_MODEL_BYTES = 2**20, 2**32
OWN_FOLDERS = (listing.FOLDER, FINDINGS, REFUSED)
_OURS = re.compile(r"(part-[0-9]{6,}|[0-9]{6,}-[0-9]{2})\.parquet")
_FILES_AT_ONCE = 32
"""Each is small, and an object store takes tens of milliseconds to answer."""

Result = TypeVar("Result")


class Terms(BaseModel):
    """What the rows of an OUTPUT have in common; where one of these differs, they cannot stand in one table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: str
    model: str
    model_sha256: str
    threshold: float
    max_bytes: int
    max_pixels: int
    with_uids: bool


class Run(BaseModel):
    """What `run.json` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    begun: datetime
    terms: Terms
    listings: tuple[Listing, ...]

    @property
    def films(self) -> int:
        """All that are listed."""
        return sum(each.films for each in self.listings)

    @property
    def others(self) -> int:
        """Files that the last look through INPUT left out."""
        return self.listings[-1].others

    def shards(self) -> Iterator[Shard]:
        """All of them in order."""
        for each in self.listings:
            yield from each.all_shards()


class Output:
    """What a place holds of a run. Methods raise OSError where it cannot be read or written, and Damaged."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def begun(self) -> Run | None:
        """The run that was begun here; None where there is none. Without listings, it was cut off before them.

        Raises:
            OutputRefused: there is one that this version cannot go on with, or none but files called like ours.
        """
        there = self.place.names("")
        if RUN not in there:
            taken = [name for name in OWN_FOLDERS if self.place.names(name)]
            taken += [MODEL] if MODEL in there else []
            if taken:
                raise OutputRefused(
                    f"{self.place.shown} has '{taken[0]}', which no run here has begun: take another OUTPUT."
                )
            return None
        try:
            return Run.model_validate_json(self.place.read(RUN, _MOST_BYTES))
        except ValidationError as error:
            raise OutputRefused(
                f"{self.place.shown} has a '{RUN}' that this version cannot read: take another OUTPUT."
            ) from error

    def go_on(self, run: Run, terms: Terms) -> None:
        """Refuse to mix rows of different terms.

        Raises:
            OutputRefused: it names what differs.
        """
        differing = [name for name, value in terms if value != getattr(run.terms, name)]
        if differing:
            told = ", ".join(
                f"{name} {getattr(run.terms, name)}, now {getattr(terms, name)}" for name in differing
            )
            raise OutputRefused(
                f"{self.place.shown} was begun with other settings: {told}. Take those, another OUTPUT, or "
                "--fresh, which deletes what is there."
            )

    def keep(self, run: Run, model: bytes) -> None:
        """Write down the run, from when on its listings hold, with the model file that judges.

        Raises:
            OutputRefused: another model lies there.
        """
        if not self._has_model(run):
            # The run first: what is there without one is taken for somebody else's.
            self._write(run.model_copy(update={"listings": ()}))
            self.place.put(MODEL, model)
        self._write(run)

    def model(self) -> bytes:
        """The model file that judges."""
        return self.place.read(MODEL, _MOST_MODEL_BYTES)

    def clear(self, run: Run) -> None:
        """Delete what the run wrote, and nothing else, but for a run without listings: begin or clear again.

        Raises:
            OutputRefused: another model lies there; nothing is deleted.
        """
        has_model = self._has_model(run)
        self._write(run.model_copy(update={"listings": ()}))
        for folder in OWN_FOLDERS:
            ours = [f"{folder}/{name}" for name in self.place.names(folder) if _OURS.fullmatch(name)]
            for _ in _each(self.place.remove, ours):
                pass
        if has_model:
            self.place.remove(MODEL)

    def pending(self, run: Run) -> list[Shard]:
        """The shards that are not done."""
        done = self.place.names(FINDINGS)
        return [shard for shard in run.shards() if str(shard) + _SUFFIX not in done]

    def pending_films(self, run: Run) -> int:
        """How many films the shards have that are not done."""
        pending = self.pending(run)
        sizes: dict[int, list[int]] = {}
        for shard in pending:
            if shard.part not in sizes:
                sizes[shard.part] = listing.sizes(self.place, shard.part)
        return sum(sizes[shard.part][shard.group] for shard in pending)

    def is_done(self, shard: Shard) -> bool:
        """Whether its findings are there."""
        try:
            self.place.read(f"{FINDINGS}/{shard}{_SUFFIX}", 1)
        except FileNotFoundError:
            return False
        return True

    def put(self, shard: Shard, table: pa.Table) -> None:
        """Write a shard's findings, by which it is done."""
        self._put_refused(shard, table)
        self.place.put(f"{FINDINGS}/{shard}{_SUFFIX}", findings.to_parquet(table))

    def replace(self, shard: Shard, table: pa.Table) -> None:
        """Write other findings of a shard that is done; cut off in between, it is still one to be retried."""
        self.place.put(f"{FINDINGS}/{shard}{_SUFFIX}", findings.to_parquet(table))
        self._put_refused(shard, table)

    def rows(self, shard: Shard) -> list[findings.Row]:
        """A done shard's findings."""
        with parquet.opened(self.place, f"{FINDINGS}/{shard}{_SUFFIX}") as file:
            rows: list[findings.Row] = file.read(columns=findings.SCHEMA.names).to_pylist()
        return rows

    def refused(self) -> Counter[str]:
        """How many films of the shards that are done have no finding, by the code of why."""
        done = self.place.names(FINDINGS)
        counts: Counter[str] = Counter()
        for codes in _each(self._codes, sorted(self.place.names(REFUSED) & done)):
            counts.update(codes)
        return counts

    def with_code(self, run: Run, code: str) -> dict[Shard, int]:
        """The shards that are done with films refused with `code`, and how many such films each has."""
        there = self.place.names(REFUSED) & self.place.names(FINDINGS)
        shards = [shard for shard in run.shards() if str(shard) + _SUFFIX in there]
        refused = _each(self._codes, [str(shard) + _SUFFIX for shard in shards])
        counts = ((shard, codes.count(code)) for shard, codes in zip(shards, refused, strict=True))
        return {shard: count for shard, count in counts if count}

    def _put_refused(self, shard: Shard, table: pa.Table) -> None:
        bad = table.filter(pc.not_equal(table["status"], findings.JUDGED))
        if bad.num_rows:
            self.place.put(f"{REFUSED}/{shard}{_SUFFIX}", findings.to_parquet(bad))
        else:  # an earlier attempt may have left some
            self.place.remove(f"{REFUSED}/{shard}{_SUFFIX}")

    def _has_model(self, run: Run) -> bool:
        if MODEL not in self.place.names(""):
            return False
        if hashlib.sha256(self.model()).hexdigest() != run.terms.model_sha256:
            raise OutputRefused(f"{self.place.shown}/{MODEL} is not the run's model: move it away.")
        return True

    def _write(self, run: Run) -> None:
        self.place.put(RUN, json.dumps(run.model_dump(mode="json"), indent=1).encode() + b"\n")

    def _codes(self, name: str) -> list[str]:
        with parquet.opened(self.place, f"{REFUSED}/{name}") as file:
            codes: list[str] = file.read(columns=["status"])["status"].to_pylist()
        return codes


def _each(step: Callable[[str], Result], names: Sequence[str]) -> Iterator[Result]:
    """`step` of each name, in order, many at once."""
    with ThreadPoolExecutor(_FILES_AT_ONCE) as threads:
        for first in range(0, len(names), 1000):
            yield from threads.map(step, names[first : first + 1000])
