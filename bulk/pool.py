"""Shards through a pool of workers with Ray Data: on this machine, or on the cluster that is named."""

import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from app.engine.cores import usable_cores
from app.engine.model_file import ModelFile
from app.engine.providers import Device, ProviderName
from bulk.errors import Unfinished, WorkerRefused
from bulk.listing import Shard
from bulk.output import Output, Run
from bulk.worker import Done, Job, Worker

CORES_A_WORKER = 0.45
"""Of Ray's account, where each really has a core: after a node is lost there must be room for its workers elsewhere,
or Ray waits for them for ever."""
SHARDS_A_LEG = 4096
"""Ray Data is given so many at once: what it keeps of each then does not add up over a hundred million films."""
TRIES = 3
"""Of a shard whose worker dies, in one leg."""
PATIENCE_SECONDS = 900
"""Without any shard done, until the workers are started anew."""
OBJECT_STORE_BYTES = 200 * 2**20

Ray = Any


@contextmanager
def cluster(address: str | None, *, gpus: bool) -> Iterator[Ray]:
    """Ray, until the block ends: the cluster at `address`, or one of this machine's own that others cannot enter.

    Raises:
        Unfinished: there is no such cluster.
    """
    folder = None
    try:
        if address is None:
            folder = tempfile.mkdtemp(prefix="bulk-")
            # Else Ray writes one into the home folder, and warns.
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
            ray.init(
                num_cpus=usable_cores(),
                num_gpus=None if gpus else 0,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=folder,
            )
        else:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        yield ray
    except (RayError, ConnectionError) as error:
        raise Unfinished(f"The cluster failed: {type(error).__name__}.") from error
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def device_of_cluster(wanted: Device) -> ProviderName:
    """CUDA where it is asked for, or where "auto" may take it and the cluster has a GPU."""
    gpus = ray.cluster_resources().get("GPU", 0)
    return "cuda" if wanted == "cuda" or (wanted == "auto" and gpus >= 1) else "cpu"


def workers_of_cluster(device: ProviderName) -> int:
    """One for each GPU, or for each core, that the cluster has."""
    return max(1, int(ray.cluster_resources().get("GPU" if device == "cuda" else "CPU", 0)))


def judge(job: Job, model: ModelFile, output: Output, run: Run, workers: int) -> Iterator[Done]:
    """Judge what is pending; tells of each shard once it is done.

    Raises:
        WorkerRefused: the workers cannot run the model.
        Unfinished: OUTPUT cannot be written, or the cluster does nothing any more.
    """
    reference = ray.put(model)
    pending = output.pending(run)
    while pending:
        for first in range(0, len(pending), SHARDS_A_LEG):
            leg = pending[first : first + SHARDS_A_LEG]
            for done in _leg(job, reference, leg, min(workers, len(leg))):
                if done.fault:
                    raise (WorkerRefused if done.faulty == "device" else Unfinished)(done.fault)
                yield done
        left = output.pending(run)
        if len(left) == len(pending):
            raise Unfinished(f"The workers died at {len(left)} of the shards, the first of them {left[0]}.")
        pending = left


def _leg(job: Job, model: Any, shards: Sequence[Shard], workers: int) -> Iterator[Done]:
    _quiet(DataContext.get_current())
    # A block a shard: Ray Data hands out whole blocks.
    listed = [{"part": shard.part, "group": shard.group} for shard in shards]
    dataset = ray.data.from_items(listed, override_num_blocks=len(listed)).map_batches(
        Worker,
        fn_constructor_args=(job, model),
        batch_size=1,
        compute=ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2),
        num_cpus=CORES_A_WORKER,
        num_gpus=1 if job.device == "cuda" else 0,
        max_restarts=-1,
        max_task_retries=TRIES,
        scheduling_strategy="SPREAD",
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
