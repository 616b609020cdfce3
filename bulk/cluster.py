"""Ray: a cluster that is there, or one of this machine's own for as long as a run lasts."""

import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from app.engine.cores import usable_cores
from app.engine.providers import Device, ProviderName
from bulk.errors import Unfinished

OBJECT_STORE_BYTES = 200 * 2**20
"""No film passes through it, only which shards there are and what became of them."""


@contextmanager
def connected(address: str | None, *, gpus: bool) -> Iterator[None]:
    """Ray, until the block ends.

    Args:
        address: a cluster's, or "auto"; None starts one on this machine, which asks whoever calls it for a token
            that this process alone has, and leaves nothing behind. Ray listens on all of a machine's addresses.
        gpus: whether that one may use the machine's GPUs.

    Raises:
        Unfinished: there is no such cluster, or it failed.
    """
    folder = None
    if address is None:
        folder = tempfile.mkdtemp(prefix="bulk-")
        # Else Ray writes a token into the home folder.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    import ray  # noqa: PLC0415 - it reads the environment when it is imported
    from ray.exceptions import RayError  # noqa: PLC0415

    try:
        with _no_native_words():
            if address is None:
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
        yield
    except (RayError, ConnectionError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not isinstance(error, RayError) and ray.is_initialized():
            raise
        raise Unfinished(f"The Ray cluster cannot be used: {type(error).__name__}.") from error
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _no_native_words() -> Iterator[None]:
    """Without what Ray's native code writes to standard error: that it will write nothing, for one."""
    if sys.stderr is None:  # closed, and the number may be another file's
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def device_of_cluster(wanted: Device) -> ProviderName:
    """CUDA where it is asked for, or where "auto" may take it and the cluster has a GPU."""
    return "cuda" if wanted == "cuda" or (wanted == "auto" and _has("GPU") >= 1) else "cpu"


def workers_of_cluster(device: ProviderName) -> int:
    """One for each GPU, or for each core, that the cluster has."""
    return max(1, int(_has("GPU" if device == "cuda" else "CPU")))


def _has(resource: str) -> float:
    import ray  # noqa: PLC0415 - see above

    return float(ray.cluster_resources().get(resource, 0))
