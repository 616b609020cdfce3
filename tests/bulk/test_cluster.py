from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bulk import archives
from tests.bulk.test_command import SLOW

# Ray warns of its own code.
pytestmark = pytest.mark.filterwarnings("ignore:::ray", "ignore:unclosed:ResourceWarning")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without a core and two nodes with one each, on the loopback address."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.syspath_prepend(archives.LIGHT)
    monkeypatch.setenv("PYTHONPATH", archives.LIGHT)
    monkeypatch.setenv("RAY_worker_niceness", "0")
    from ray.cluster_utils import Cluster

    node = {"object_store_memory": 200 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **node})
    try:
        made.nodes = [made.add_node(num_cpus=1, object_store_memory=200 * 2**20) for _ in range(2)]
        yield made
    finally:
        made.shutdown()


def test_a_node_that_is_killed_under_way_costs_no_film_and_doubles_none(
    cluster: Any, tiny_folder: Path, tmp_path: Path
) -> None:
    archive, output = archives.fill(tmp_path / "in", 400, SLOW), tmp_path / "out"
    settings = {"MODEL_DIR": str(tiny_folder), "DEVICE": "cpu"}
    with archives.under_way(archive, output, "--address", cluster.address, **settings) as process:
        archives.first_shard_done(process, output)
        before = archives.done(output)
        cluster.remove_node(cluster.nodes[1], allow_graceful=False)
        printed, said = process.communicate(timeout=archives.PATIENCE_SECONDS)
    assert process.returncode == 0, said
    assert before < 400 // 16, "else the node was killed too late"
    found = archives.rows(output)
    assert len(found) == 400
    assert len({row["path"] for row in found}) == 400
    assert "This run: 400 films" in printed
