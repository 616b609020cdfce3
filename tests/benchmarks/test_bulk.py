from pathlib import Path

import pytest

from benchmarks import bulk
from benchmarks.bare import Rate
from benchmarks.bulk import Memory, Steady


def test_an_archive_of_links_has_as_many_films_as_it_is_asked_for(tmp_path: Path) -> None:
    archive = bulk._archive(tmp_path / "in", [b"one", b"two"], 2005)
    files = sorted(path for path in archive.rglob("*") if path.is_file())
    assert len(files) == 2005
    assert {path.read_bytes() for path in files} == {b"one", b"two"}
    assert max(len(list(folder.iterdir())) for folder in archive.iterdir()) == bulk.A_FOLDER


def test_overhead_is_against_the_best_of_the_bare_loops() -> None:
    loops = {
        "one loop": Rate(films_a_second=40, processor_seconds=0.02),
        "a loop a core": Rate(films_a_second=50, processor_seconds=0.025),
    }
    run = Steady(
        round=0, cores=2, films=500, start=9, films_a_second=40, processor_seconds=0.024, loops=loops
    )
    assert (run.slower, run.dearer) == pytest.approx((0.25, 0.2))
    size = Memory(
        films=1000, seconds=2, films_a_second=500, resident=2 * 10**9, proportional=10**9, growth=None
    )
    page = bulk.page([run], [size])
    assert "| 2 | 40 | 50 | 25 % | 24 | 20 % | 9 |" in page
    assert "| 1,000 | 500 | 2,000 | 1,000 | – |" in page
