"""OUTPUT: what a run was begun with, the list of films, and the shards that are done.

    run.json                          what rows depend on, and the listings; there once the first listing is whole
    model.onnx                        what judges, so that every worker of a cluster has the same
    listing/part-NNNNNN.parquet       the films, see `bulk.listing`
    findings/NNNNNN-NN.parquet        a row for each film of a shard; there once the shard is done
    refused/NNNNNN-NN.parquet         those rows of it that have no finding, if there are any; written before

A shard is done when its findings are there, and nothing else is kept of the progress: so whatever ends a run, and
however often a shard is done, each film has one row.
"""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from bulk import findings, listing
from bulk.errors import OutputRefused
from bulk.listing import Listing, Shard
from bulk.places import Place

RUN, MODEL = "run.json", "model.onnx"
FINDINGS, REFUSED = "findings", "refused"
_SUFFIX = ".parquet"
_MOST_BYTES, _MOST_MODEL_BYTES = 2**20, 2**32
_FOLDERS = (listing.FOLDER, FINDINGS, REFUSED)


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
    """What a place holds of a run. Methods raise OSError where it cannot be read or written."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def begun(self) -> Run | None:
        """The run that was begun here; None where there is none.

        Raises:
            OutputRefused: there is one that this version cannot go on with.
        """
        if RUN not in self.place.names(""):
            if self.place.names(FINDINGS):
                raise OutputRefused(
                    f"{self.place.shown} has a folder '{FINDINGS}' that no run here has begun."
                )
            return None
        try:
            return Run.model_validate_json(self.place.read(RUN, _MOST_BYTES))
        except ValidationError as error:
            raise OutputRefused(
                f"{self.place.shown} was begun by another version; take another OUTPUT, or --fresh."
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
        """Write down the run, from when on its listings hold, with the model file that judges."""
        self.place.put(MODEL, model)
        self.place.put(RUN, json.dumps(run.model_dump(mode="json"), indent=1).encode() + b"\n")

    def model(self) -> bytes:
        """The model file that judges."""
        return self.place.read(MODEL, _MOST_MODEL_BYTES)

    def clear(self) -> None:
        """Delete what runs wrote here, and nothing else; what was begun last goes first."""
        for name in (RUN, FINDINGS, REFUSED, listing.FOLDER, MODEL):
            self.place.remove(name)

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
        bad = table.filter(pc.not_equal(table["status"], findings.JUDGED))
        if bad.num_rows:
            self.place.put(f"{REFUSED}/{shard}{_SUFFIX}", findings.to_parquet(bad))
        else:  # an attempt that was cut off may have left some
            self.place.remove(f"{REFUSED}/{shard}{_SUFFIX}")
        self.place.put(f"{FINDINGS}/{shard}{_SUFFIX}", findings.to_parquet(table))

    def refused(self) -> Counter[str]:
        """How many films of the shards that are done have no finding, by the code of why."""
        done = self.place.names(FINDINGS)
        counts: Counter[str] = Counter()
        for name in sorted(self.place.names(REFUSED) & done):
            counts.update(self._codes(name))
        return counts

    def forget(self, code: str) -> int:
        """Have the shards judged again in which a film was refused with `code`; how many there are."""
        forgotten = 0
        for name in sorted(self.place.names(REFUSED) & self.place.names(FINDINGS)):
            if code in self._codes(name):
                self.place.remove(f"{FINDINGS}/{name}")
                self.place.remove(f"{REFUSED}/{name}")
                forgotten += 1
        return forgotten

    def _codes(self, name: str) -> list[str]:
        with self.place.open(f"{REFUSED}/{name}") as file:
            codes: list[str] = pq.read_table(file, columns=["status"])["status"].to_pylist()
        return codes
