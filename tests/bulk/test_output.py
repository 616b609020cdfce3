"""What is in OUTPUT and is not ours stays, whatever is asked."""

import shutil
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bulk import findings, listing
from bulk.errors import Damaged, OutputRefused
from bulk.listing import Shard
from bulk.output import Output
from bulk.places import Folder, inside, open_place
from tests.bulk import archives
from tests.bulk.archives import DARK, FILM, GOOD
from tests.bulk.test_worker import begin, judge


def everything(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


FOREIGN = {"findings/thesis.txt": b"years of work", "model.onnx": b"mine", "run.json": b"{}"}


@pytest.mark.parametrize("there", [FOREIGN, *({name: content} for name, content in FOREIGN.items())])
@pytest.mark.parametrize("option", [[], ["--fresh"]])
def test_an_output_with_files_of_somebody_else_is_refused_and_left_as_it_is(
    tiny_folder: Path, tmp_path: Path, there: dict[str, bytes], option: list[str]
) -> None:
    archive = archives.write(tmp_path / "in", {"a.jpg": FILM})
    output = archives.write(tmp_path / "out", there)
    ended = archives.run(archive, output, *option, MODEL_DIR=str(tiny_folder), DEVICE="cpu")
    assert (ended.returncode, "take another OUTPUT" in ended.stderr) == (2, True), ended.stderr
    assert everything(output) == there


@pytest.mark.parametrize("archive", ["nowhere", "empty", "out/findings", "linked"])
def test_fresh_deletes_nothing_before_input_is_looked_at(
    tiny_folder: Path, tmp_path: Path, archive: str
) -> None:
    output = tmp_path / "out"
    judge(*begin(archives.write(tmp_path / "in", GOOD), output, tiny_folder))
    archives.write(output, {"findings/a.jpg": FILM, "findings/b/c.png": DARK})
    (tmp_path / "empty").mkdir()
    (tmp_path / "linked").symlink_to(output / "findings" / "b")
    before = everything(output)
    ended = archives.run(tmp_path / archive, output, "--fresh", MODEL_DIR=str(tiny_folder), DEVICE="cpu")
    assert ended.returncode == 2, ended.stderr
    assert everything(output) == before


@pytest.mark.parametrize("option", [[], ["--retry"], ["--update"]])
def test_nothing_is_gone_on_with_while_input_is_away(
    tiny_folder: Path, tmp_path: Path, option: list[str]
) -> None:
    archive, output = archives.write(tmp_path / "in", GOOD), tmp_path / "out"
    judge(*begin(archive, output, tiny_folder))
    archive.rename(tmp_path / "unmounted")
    archive.mkdir()
    before = everything(output)
    ended = archives.run(archive, output, *option, MODEL_DIR=str(tiny_folder), DEVICE="cpu")
    assert (ended.returncode, "is its disk away?" in ended.stderr) == (2, True), ended.stderr
    assert everything(output) == before


def test_clearing_deletes_what_the_run_wrote_and_nothing_else(tiny_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    archive = archives.write(tmp_path / "in", GOOD | {"bad.jpg": b""})
    _, run = begin(archive, output, tiny_folder)
    judge(_, run)
    foreign = {
        "findings/thesis.txt": b"1",
        "findings/000000-00.parquet.bak": b"2",
        "refused/all.parquet": b"3",
        "listing/part-000009.parquet/part-000000.parquet": b"4",
        "notes/findings/000000-00.parquet": b"5",
    }
    archives.write(output, foreign)
    Output(Folder(output)).clear(run)
    assert {name: content for name, content in everything(output).items() if name != "run.json"} == foreign
    left = Output(Folder(output)).begun()
    assert left is not None
    assert left.listings == (), "cut off here, it is cleared again"


def test_another_model_is_neither_deleted_nor_overwritten(tiny_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    _, run = begin(archives.write(tmp_path / "in", GOOD), output, tiny_folder)
    (output / "model.onnx").write_bytes(b"mine")
    before = everything(output)
    with pytest.raises(OutputRefused, match="not the run's model"):
        Output(Folder(output)).clear(run)
    with pytest.raises(OutputRefused, match="not the run's model"):
        Output(Folder(output)).keep(run, b"new")
    assert everything(output) == before


def test_a_run_that_was_cut_off_before_its_listing_was_whole_begins_anew(
    tiny_folder: Path, tmp_path: Path
) -> None:
    archive, output = archives.write(tmp_path / "in", {"a.jpg": FILM}), tmp_path / "out"
    settings = {"MODEL_DIR": str(tiny_folder), "DEVICE": "cpu"}
    assert archives.run(archive, output, **settings).returncode == 0
    shutil.copy(output / "findings/000000-00.parquet", output / "findings/000000-07.parquet")
    begun = Output(Folder(output)).begun()
    assert begun is not None
    begun = begun.model_copy(update={"listings": ()})
    (output / "run.json").write_text(begun.model_dump_json())
    ended = archives.run(archive, output, **settings)
    assert (ended.returncode, "This run: 1 films" in ended.stdout) == (0, True), ended.stderr
    assert [row["path"] for row in archives.rows(output)] == ["a.jpg"]


def test_the_small_files_are_read_many_at_once_since_a_store_takes_its_time(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archives.write(tmp_path / "in", {f"{number:03}.jpg": b"" for number in range(128)})
    job, run = begin(archive, tmp_path / "out", tiny_folder)
    judge(job, run)
    together = threading.Barrier(8)
    opened = Folder.open

    def waits(self: Folder, name: str) -> Any:
        together.wait(archives.PATIENCE_SECONDS)
        return opened(self, name)

    output = Output(Folder(tmp_path / "out"))
    with monkeypatch.context() as patched:
        patched.setattr(Folder, "open", waits)
        assert output.refused() == {"unreadable-image": 128}
        assert set(output.with_code(run, "unreadable-image").values()) == {16}


OTHER = findings.to_parquet(pa.table({"other": [1]}))


@pytest.mark.parametrize("name", ["refused/000000-00.parquet", "listing/part-000000.parquet"])
@pytest.mark.parametrize("content", [b"", b"PAR1" + bytes(50) + b"\x10\0\0\0PAR1", OTHER])
def test_a_damaged_file_is_named(tiny_folder: Path, tmp_path: Path, name: str, content: bytes) -> None:
    job, run = begin(archives.write(tmp_path / "in", {"a.jpg": b""}), tmp_path / "out", tiny_folder)
    judge(job, run)
    (tmp_path / "out" / name).write_bytes(content)
    output = Output(Folder(tmp_path / "out"))
    with pytest.raises(Damaged, match=f"{tmp_path}/out/{name}"):
        output.refused() if "refused" in name else listing.read(output.place, Shard(0, 0))
    if "listing" in name:
        (tmp_path / "out" / "findings" / "000000-00.parquet").unlink()
        (done,) = judge(job, run)
        assert (done.faulty, name in done.fault) == ("output", True)


def test_a_damaged_output_ends_the_command_with_4_and_a_line(tiny_folder: Path, tmp_path: Path) -> None:
    archive, output = archives.write(tmp_path / "in", {"a.jpg": b""}), tmp_path / "out"
    settings = {"MODEL_DIR": str(tiny_folder), "DEVICE": "cpu"}
    ended = archives.run(archive, output, **settings)
    assert (ended.returncode, "logging.cc" in ended.stderr) == (3, False), "no word of Ray's own"
    (output / "refused" / "000000-00.parquet").write_bytes(b"")
    ended = archives.run(archive, output, **settings)
    assert (ended.returncode, ended.stderr.count("\n")) == (4, 1), ended.stderr
    assert "refused/000000-00.parquet is damaged" in ended.stderr


@pytest.mark.parametrize(
    ("place", "within"),
    [
        ("memory://x/findings", True),
        ("memory://x/findings/a", True),
        ("memory://x", False),
        ("memory://x/findings-old", False),
    ],
)
def test_what_lies_in_a_folder_of_a_bucket(place: str, *, within: bool) -> None:
    assert inside(open_place(place), open_place("memory://x"), "findings") is within
