"""Shards through a pool of workers, with Ray Data on the cluster that is connected."""

import logging
from collections.abc import Iterator, Sequence

import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from bulk.errors import Unfinished, WorkerRefused
from bulk.listing import Shard
from bulk.worker import Done, Job, Worker

CORES_A_WORKER = 0.45
"""Of Ray's account, where each really has a core: after a node is lost there must be room for its workers
elsewhere, and Ray waits for that for ever."""
SHARDS_A_LEG = 4096
"""Ray Data is given so many at once: what it keeps of each then does not add up over a hundred million films."""
PATIENCE_SECONDS = 900
"""Without any shard done, until the workers are started anew."""


def judge(job: Job, shards: Sequence[Shard], workers: int) -> Iterator[Done]:
    """Judge shards; tells of each once it is done.

    Raises:
        WorkerRefused: the workers cannot run the model.
        Unfinished: INPUT is away, OUTPUT cannot be written, or the cluster does nothing any more.
    """
    pending = list(shards)
    while pending:
        told: set[Shard] = set()
        for first in range(0, len(pending), SHARDS_A_LEG):
            leg = pending[first : first + SHARDS_A_LEG]
            for done in _leg(job, leg, min(workers, len(leg))):
                if done.fault:
                    raise (WorkerRefused if done.faulty == "device" else Unfinished)(done.fault)
                told.add(done.shard)
                yield done
        left = [shard for shard in pending if shard not in told]
        if len(left) == len(pending):
            raise Unfinished(f"The workers died at {len(left)} of the shards, the first of them {left[0]}.")
        pending = left


def _leg(job: Job, shards: Sequence[Shard], workers: int) -> Iterator[Done]:
    _quiet(DataContext.get_current())
    # A block a shard: Ray Data hands out whole blocks.
    listed = [{"part": shard.part, "group": shard.group} for shard in shards]
    dataset = ray.data.from_items(listed, override_num_blocks=len(listed)).map_batches(
        Worker,
        fn_constructor_args=(job,),
        batch_size=1,
        compute=ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2),
        num_cpus=CORES_A_WORKER,
        num_gpus=1 if job.device == "cuda" else 0,
    )
    try:
        for row in dataset.iter_rows():
            fields = {name: row[name] for name in Done._fields if name != "shard"}
            yield Done(Shard(row["part"], row["group"]), **fields)
    except RayError:
        # A node or a worker is lost, or nothing moves: what is left is tried again, or told of.
        return


def _quiet(context: DataContext) -> None:
    """No bars and no words of Ray Data's own; what fails is told by us."""
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.enable_auto_log_stats = False
    context.max_errored_blocks = -1
    context.execution_no_progress_timeout_s = PATIENCE_SECONDS
    logging.getLogger("ray.data").setLevel(logging.CRITICAL + 1)
