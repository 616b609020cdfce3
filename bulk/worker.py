"""What runs in each process of the pool: shards in, files of findings out, and a line about each."""

import hashlib
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from app import imaging
from app.engine.classifier import Classifier
from app.engine.errors import DeviceFailed, EngineError, ModelFileError
from app.engine.model_file import ModelFile
from app.engine.providers import ProviderName, choose_provider, open_session
from bulk import findings, listing
from bulk.errors import ArchiveRefused, Damaged
from bulk.findings import JUDGED, Row
from bulk.listing import Shard
from bulk.output import MODEL, Output
from bulk.places import File, open_place
from bulk.refusals import NOT_OPENED
from bulk.scoring import Pace, Rules, Scorer


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker is told. `archive` and `output` are URLs, opened with the worker's own rights.

    `retry`: whether films that could not be opened are judged again in the shards that are done.
    """

    archive: str
    output: str
    rules: Rules
    pace: Pace
    model_sha256: str
    threshold: float | None
    device: ProviderName
    cuda_memory_mb: int | None
    retry: bool = False


class Done(NamedTuple):
    """What became of a shard, in numbers. `fault`: why it was not done, in words; empty where it was."""

    shard: Shard
    films: int
    pneumonia: int
    review: int
    refused: int
    seconds: float
    fault: str = ""
    faulty: str = ""
    """What is at fault: "device", "input" or "output"."""


class Worker:
    """One classifier on a core or a GPU. Faults are told, not raised: Ray would log what exceptions quote."""

    def __init__(self, job: Job) -> None:
        self._refused = ""
        self._retry = job.retry
        self._archive = open_place(job.archive)
        self._output = Output(open_place(job.output))
        imaging.prepare()
        try:
            classifier = open_classifier(job, self._output)
            size = classifier.input_size
            classifier.run(np.zeros((job.pace.batch, size, size), np.uint8))
        except EngineError as error:
            self._refused = str(error)
            return
        except OSError as error:
            self._refused = f"the model cannot be read from {self._output.place.shown}: {error.strerror}."
            return
        self._scorer = Scorer(self._archive, classifier, job.rules, job.pace)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Judge the shards of a batch, given as `part` and `group`."""
        shards = [
            Shard(int(part), int(group)) for part, group in zip(batch["part"], batch["group"], strict=True)
        ]
        done = [self.judge(shard) for shard in shards]
        columns = {name: [getattr(each, name) for each in done] for name in Done._fields if name != "shard"}
        return batch | {name: np.array(values) for name, values in columns.items()}

    def judge(self, shard: Shard) -> Done:
        """Judge a shard and write its findings; nothing if they are there, but for a retry."""
        if self._refused:
            return _failed(shard, self._refused, "device")
        started = time.perf_counter()
        try:
            done = self._output.is_done(shard)
            if done and not self._retry:
                return Done(shard, 0, 0, 0, 0, 0.0)
            rows = self._again(shard) if done else self._first(shard)
        except (ArchiveRefused, Damaged) as error:
            return _failed(shard, str(error), "input" if isinstance(error, ArchiveRefused) else "output")
        except DeviceFailed as error:
            return _failed(shard, str(error), "device")
        except OSError as error:
            reason = error.strerror or type(error).__name__
            return _failed(shard, f"{self._output.place.shown} cannot be read or written: {reason}", "output")
        return summary(shard, rows, time.perf_counter() - started)

    def _first(self, shard: Shard) -> list[Row]:
        rows = self._score(listing.read(self._output.place, shard))
        self._output.put(shard, findings.to_table(rows))
        return rows

    def _again(self, shard: Shard) -> list[Row]:
        """Judge the films that could not be opened; the other rows stay. The rows that are new."""
        rows = self._output.rows(shard)
        files = listing.read(self._output.place, shard)
        unopened = [number for number, row in enumerate(rows) if row["status"] == NOT_OPENED]
        new = self._score([files[number] for number in unopened])
        for number, row in zip(unopened, new, strict=True):
            rows[number] = row
        self._output.replace(shard, findings.to_table(rows))
        return new

    def _score(self, files: list[File]) -> list[Row]:
        """Raises ArchiveRefused where films cannot be opened since INPUT is away: that is not their fault."""
        rows = self._scorer.score(files)
        if any(row["status"] == NOT_OPENED for row in rows):
            self._archive.require()
        return rows


def open_classifier(job: Job, output: Output) -> Classifier:
    """OUTPUT's model on the device that the job names, with one thread of its own on the CPU.

    Raises:
        EngineError: the device is missing, or the model is refused.
        OSError: OUTPUT cannot be read.
    """
    content = output.model()
    model = ModelFile(Path(MODEL), content, hashlib.sha256(content).hexdigest())
    if model.sha256 != job.model_sha256:
        raise ModelFileError(f"The model in {output.place.shown} is not the one that the run was begun with.")
    provider = choose_provider(job.device, memory_mb=job.cuda_memory_mb)
    session = open_session(model.content, provider, threads=1)
    return Classifier(session, model, provider, threshold=job.threshold)


def summary(shard: Shard, rows: list[Row], seconds: float) -> Done:
    """A shard's rows in numbers."""
    counts = Counter(str(row.get("label")) for row in rows if row["status"] == JUDGED)
    return Done(
        shard,
        films=len(rows),
        pneumonia=counts["PNEUMONIA"],
        review=sum(bool(row.get("review")) for row in rows),
        refused=len(rows) - counts.total(),
        seconds=seconds,
    )


def _failed(shard: Shard, fault: str, faulty: str) -> Done:
    return Done(shard, 0, 0, 0, 0, 0.0, fault, faulty)
