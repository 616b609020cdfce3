from collections import Counter

import pytest

from bulk import progress
from bulk.listing import Shard
from bulk.progress import Tally
from bulk.worker import Done


def shard(films: int, refused: int = 0, seconds: float = 2.0) -> Done:
    return Done(Shard(0, 0), films, pneumonia=films // 2, review=1, refused=refused, seconds=seconds)


def test_rate_and_time_left_count_from_when_the_first_shard_was_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([110.0, 114.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    tally = Tally(total=1000)
    assert (tally.rate, tally.remaining) == (0.0, 0.0)
    assert tally.words() == "0 of 1,000 films"
    tally.add(shard(100))
    tally.add(shard(200, refused=3))
    assert tally.rate == pytest.approx(300 / 6)
    assert tally.remaining == pytest.approx(14)
    assert tally.words() == "300 of 1,000 films, 50.0 films/s, 0 min 14 s left, 3 not judged"


def test_the_report_adds_up_and_names_no_file() -> None:
    tally = Tally(total=10)
    tally.add(shard(10, refused=2))
    lines = progress.report(tally, 30, 1, Counter({"unreadable-image": 4, "internal": 1}), "out/refused")
    assert "10 films, 5 PNEUMONIA, 3 NORMAL, 2 not judged" in lines[0]
    assert "30 films, 25 judged, 5 not; 1 files left out" in lines[2]
    assert [line.split() for line in lines[3:5]] == [["1", "internal"], ["4", "unreadable-image"]]
    assert "out/refused" in lines[5]
    assert "a reader decides" in lines[-1]
