import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tests import radiographs, tiny_model
from tests.app.live import wait_until
from tests.bulk import archives
from tests.bulk.archives import BAD, DARK, FILM, GOOD

SLOW = radiographs.jpeg(radiographs.draw(1300, 900, seed=3))


def test_killed_under_way_it_goes_on_to_each_film_once_and_then_has_nothing_to_do(
    tiny_folder: Path, tmp_path: Path
) -> None:
    settings = {"MODEL_DIR": str(tiny_folder), "DEVICE": "cpu"}
    archive, output = archives.fill(tmp_path / "in", 300, SLOW), tmp_path / "out"
    archives.write(archive, GOOD | {name: content for name, (content, _) in BAD.items()})
    films = sorted(path.relative_to(archive).as_posix() for path in archive.rglob("*") if path.is_file())

    with archives.under_way(archive, output, **settings) as process:
        archives.first_shard_done(process, output)
        workers = [child for child in _children(process) if "MapWorker" in child.name()]
        process.kill()
    assert workers
    wait_until(lambda: not any(map(_runs, workers)), "nobody writes any more")
    kept = archives.rows(output)
    assert 0 < len(kept) < len(films), "else it was not killed under way"

    ended = archives.run(archive, output, **settings)
    assert ended.returncode == 3, ended.stderr
    found = archives.rows(output)
    assert sorted(row["path"] for row in found) == films
    statuses = {row["path"]: row["status"] for row in found}
    assert {name: statuses[name] for name in BAD} == {name: code for name, (_, code) in BAD.items()}
    assert Counter(statuses.values())["judged"] == len(films) - len(BAD)
    assert f"This run: {len(films) - len(kept):,} films" in ended.stdout
    for code in {code for _, code in BAD.values()}:
        assert code in ended.stdout
    assert "Traceback" not in ended.stderr
    assert "bad/" not in ended.stdout + ended.stderr, "no name of a file"

    again = archives.run(archive, output, **settings)
    assert (again.returncode, "This run: 0 films" in again.stdout) == (3, True)
    assert archives.rows(output) == found


def test_interrupted_it_says_how_to_go_on_and_leaves_no_process(tiny_folder: Path, tmp_path: Path) -> None:
    archive, output = archives.fill(tmp_path / "in", 2000, SLOW), tmp_path / "out"
    with archives.under_way(archive, output, MODEL_DIR=str(tiny_folder), DEVICE="cpu") as process:
        archives.first_shard_done(process, output)
        children = _children(process)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=archives.PATIENCE_SECONDS)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    wait_until(lambda: not any(map(_runs, children)), "no process of it is left")
    assert not list(output.rglob(".*")), "nothing half written"


@pytest.fixture
def finished(tiny_folder: Path, tmp_path: Path) -> Path:
    """OUTPUT of a run over two films."""
    archive = archives.write(tmp_path / "in", {"a.jpg": FILM, "b.png": DARK})
    ended = archives.run(archive, tmp_path / "out", MODEL_DIR=str(tiny_folder), DEVICE="cpu")
    assert ended.returncode == 0, ended.stderr
    return tmp_path / "out"


def test_what_it_was_begun_with_holds_until_told_otherwise(
    finished: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.onnx").write_bytes(tiny_model.build(tiny_model.manifest(version="2")))
    before = archives.rows(finished)
    for arguments, settings, word in (
        ([], {"MODEL_DIR": str(other)}, "model tiny 1, now tiny 2"),
        ([], {"THRESHOLD": "0.7"}, "threshold 0.4, now 0.7"),
        ([], {"MAX_PIXELS": "5000"}, "max_pixels"),
        (["--with-uids"], {}, "with_uids"),
    ):
        told = {"MODEL_DIR": str(tiny_folder), "DEVICE": "cpu"} | settings
        ended = archives.run(tmp_path / "in", finished, *arguments, **told)
        assert (ended.returncode, word in ended.stderr) == (2, True), ended.stderr
    assert archives.rows(finished) == before

    archives.write(tmp_path / "in", {"c.png": GOOD["b/white.png"]})
    settings = {"MODEL_DIR": str(tiny_folder), "DEVICE": "cpu"}
    ended = archives.run(f"file://{tmp_path}/in", finished, "--update", **settings)
    assert ended.returncode == 0, ended.stderr
    after = archives.rows(finished)
    assert after[:2] == before
    assert [row["path"] for row in after] == ["a.jpg", "b.png", "c.png"]


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "word"),
    [
        (["nowhere", "out"], {}, 2, "is no folder"),
        (["empty", "out"], {}, 2, "no film"),
        (["empty", "out"], {"THRESHOLD": "2"}, 2, "PNEUMOSCOPE_THRESHOLD"),
        (["empty", "out"], {"MODEL_DIR": "nowhere"}, 1, "does not exist"),
        (["nosuch://u:secret@host/films", "out"], {}, 4, "cannot be opened"),
        (["empty", "taken"], {}, 2, "no run here has begun"),
    ],
)
def test_what_cannot_begin_is_told_in_a_line_with_a_code(
    tiny_folder: Path, tmp_path: Path, arguments: list[str], settings: dict[str, str], code: int, word: str
) -> None:
    (tmp_path / "empty").mkdir()
    archives.write(tmp_path / "taken" / "findings", {"mine.parquet": b""})
    paths = [each if "://" in each else str(tmp_path / each) for each in arguments]
    ended = archives.run(*paths, **({"MODEL_DIR": str(tiny_folder), "DEVICE": "cpu"} | settings))
    assert (ended.returncode, word in ended.stderr) == (code, True), ended.stderr
    assert "Traceback" not in ended.stderr
    assert "secret" not in ended.stderr


def test_without_ray_nothing_of_it_is_imported_until_there_is_work() -> None:
    look = "import sys, bulk.__main__; print('ray' in sys.modules)"
    ended = subprocess.run(
        [archives.PYTHON, "-W", "error", "-c", look],
        cwd=archives.ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
        timeout=60,
    )
    assert ended.stdout.strip() == "False"


def _children(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
