from pathlib import Path

import pytest

from benchmarks import compare
from benchmarks.campaign import Campaign
from benchmarks.server import DidNotStart, Setup
from tests.benchmarks.rows import CONDITIONS, visit

NAMES = ["pneumoscope", "fastapi", "litserve"]


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path / "model.onnx", 32, "cpu", None, 1, tmp_path)


def visited(tmp_path: Path, setup: Setup, rounds: int) -> list[compare.Visit | compare.Failure]:
    return list(compare.compare(Campaign(tmp_path / "rows", CONDITIONS), setup, [], NAMES, rounds))


def test_rounds_begin_with_another_target_each(
    tmp_path: Path, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "_visit", lambda name, turn, *_: visit(name, turn, 10.0))
    found = visited(tmp_path, setup, 3)
    assert [(each.round, each.target) for each in found] == [
        *[(0, "pneumoscope"), (0, "fastapi"), (0, "litserve")],
        *[(1, "fastapi"), (1, "litserve"), (1, "pneumoscope")],
        *[(2, "litserve"), (2, "pneumoscope"), (2, "fastapi")],
    ]


def test_a_peer_that_fails_is_told_and_tried_again_next_time(
    tmp_path: Path, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {"fastapi"}

    def measure(name: str, turn: int, *_: object) -> compare.Visit:
        if name in broken:
            raise DidNotStart("it ended with 1")
        return visit(name, turn, 10.0)

    monkeypatch.setattr(compare, "_visit", measure)
    found = visited(tmp_path, setup, 1)
    assert [type(each) for each in found] == [compare.Visit, compare.Failure, compare.Visit]
    assert found[1] == compare.Failure("fastapi", 0, "it ended with 1")
    broken.clear()
    assert [type(each) for each in visited(tmp_path, setup, 1)] == [compare.Visit] * 3
    broken.add("pneumoscope")
    with pytest.raises(DidNotStart):
        visited(tmp_path, setup, 2)
