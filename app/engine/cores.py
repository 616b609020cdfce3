"""How many processor cores this process may use: a container's share, not the host's count."""

import contextlib
import math
import os
import sys
import threading
from pathlib import Path

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def step_back(steps: int) -> None:
    """Let this process's other threads go before the calling one where cores are short.

    What answers requests must not wait behind what decodes and judges films: under overload, refusals and health
    checks come at once only so. Linux alone gives threads priorities of their own; elsewhere, and where a sandbox
    forbids it, nothing happens.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            niceness = os.getpriority(os.PRIO_PROCESS, thread) + steps
            os.setpriority(os.PRIO_PROCESS, thread, min(19, niceness))


def lanes_for(cores: int, most: int) -> int:
    """How many runs go side by side so that no core is left out, each with the same number of threads.

    Args:
        cores: the cores that there are.
        most: most runs.
    """
    return cores // math.ceil(cores / most)


def usable_cores(root: Path = _CGROUP_ROOT, own: Path = _OWN_CGROUPS) -> int:
    """Cores that the CPU affinity and the cgroup's quota (version 1 or 2) allow, at least 1.

    A quota that is no whole number is rounded to the nearest one: 1.5 cores count as 2, 1.4 as 1.
    """
    cores = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota(root, own)
    if quota is not None:
        cores = min(cores, quota)
    return max(1, math.floor(cores + 0.5))


def cgroup_quota(root: Path = _CGROUP_ROOT, own: Path = _OWN_CGROUPS) -> float | None:
    """Cores granted by the narrowest quota from this process's cgroup up to the root, or None."""
    quotas = [quota for group in _groups(root, own) if (quota := _quota(group)) is not None]
    return min(quotas, default=None)


def _groups(root: Path, own: Path) -> list[Path]:
    """Folders that may hold a quota for this process, whichever version of cgroups is mounted."""
    groups = [root, root / "cpu", root / "cpu,cpuacct"]
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return groups
    for line in lines:
        _, _, controllers_and_path = line.partition(":")
        controllers, _, path = controllers_and_path.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / controllers if controllers else root
        group = base / path.lstrip("/")
        groups += [group, *(parent for parent in group.parents if parent.is_relative_to(base))]
    return groups


def _quota(group: Path) -> float | None:
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if quota in ("max", "-1"):
        return None
    return int(quota) / int(period)
