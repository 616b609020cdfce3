import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.engine.cores import cgroup_quota, lanes_for, step_back, usable_cores


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "own"


def test_version_2_takes_the_narrowest_quota_up_to_the_root(tmp_path: Path, own: Path) -> None:
    root = tmp_path / "cgroup"
    own.write_text("0::/pod/container\n")
    write(root / "pod", cpu__max="150000 100000\n")
    write(root / "pod" / "container", cpu__max="max 100000\n")
    assert cgroup_quota(root, own) == 1.5


def test_version_1_reads_quota_and_period(tmp_path: Path, own: Path) -> None:
    root = tmp_path / "cgroup"
    own.write_text("5:memory:/box\n4:cpu,cpuacct:/box\n0::/\n")
    write(root / "cpu,cpuacct" / "box", cpu__cfs_quota_us="400000\n", cpu__cfs_period_us="100000\n")
    assert cgroup_quota(root, own) == 4


def test_inside_a_container_the_root_is_its_own_group(tmp_path: Path, own: Path) -> None:
    root = tmp_path / "cgroup"
    own.write_text("0::/\n")
    write(root, cpu__max="200000 100000\n")
    assert cgroup_quota(root, own) == 2


@pytest.mark.parametrize(
    "files",
    [{"cpu__max": "max 100000\n"}, {"cpu__cfs_quota_us": "-1\n", "cpu__cfs_period_us": "100000\n"}, {}],
)
def test_no_quota_leaves_the_affinity(tmp_path: Path, own: Path, files: dict[str, str]) -> None:
    write(tmp_path, **files)
    assert cgroup_quota(tmp_path, own) is None
    assert usable_cores(tmp_path, own) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("quota", "cores"), [(10_000, 1), (50_000, 1), (140_000, 1)])
def test_at_least_one_core_and_the_nearest_number(tmp_path: Path, own: Path, quota: int, cores: int) -> None:
    write(tmp_path, cpu__max=f"{quota} 100000\n")
    assert usable_cores(tmp_path, own) == cores


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_a_thread_that_steps_back_leaves_the_others_where_they_are() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def stepping_back() -> tuple[int, int]:
        before = niceness()
        step_back(3)
        return before, niceness()

    own = niceness()
    with ThreadPoolExecutor(1) as pool:
        before, after = pool.submit(stepping_back).result()
    assert after == min(19, before + 3)
    assert niceness() == own


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_a_sandbox_that_forbids_priorities_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", forbidden)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(step_back, 3).result()


@pytest.mark.parametrize(
    ("cores", "lanes"), [(1, 1), (2, 2), (16, 16), (17, 8), (24, 12), (31, 15), (32, 16), (47, 15), (64, 16)]
)
def test_lanes_leave_few_cores_out(cores: int, lanes: int) -> None:
    assert lanes_for(cores, 16) == lanes
    assert lanes * (cores // lanes) >= 0.9 * cores
