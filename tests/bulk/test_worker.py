import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.api.errors import KINDS
from app.engine.classifier import Classifier
from app.settings import Settings
from bulk import findings, listing, refusals
from bulk.listing import Shard
from bulk.output import Output, Run, Terms
from bulk.places import Folder
from bulk.scoring import Pace, Rules
from bulk.worker import Done, Job, Worker
from tests.app.live import running
from tests.bulk import archives
from tests.bulk.archives import BAD, GOOD

ONE_BY_ONE = Pace(batch=1, threads=1, decode_ahead=False)
AS_ON_A_GPU = Pace(batch=3, threads=4, decode_ahead=True)


def begin(archive: Path, output: Path, model: Path, pace: Pace = ONE_BY_ONE, **rules: Any) -> tuple[Job, Run]:
    """OUTPUT as the command begins it, and the job of its workers."""
    content = (model / "model.onnx").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    limits = Rules(**({"max_bytes": 2**20, "max_pixels": 10**6, "with_uids": False} | rules))
    place = Output(Folder(output))
    run = Run(
        begun=findings.now(),
        terms=Terms(
            input=str(archive),
            model="tiny 1",
            model_sha256=sha256,
            threshold=0.4,
            max_bytes=limits.max_bytes,
            max_pixels=limits.max_pixels,
            with_uids=limits.with_uids,
        ),
        listings=(listing.write(Folder(archive), place.place),),
    )
    place.keep(run, content)
    return Job(str(archive), str(output), limits, pace, sha256, None, "cpu", None), run


def judge(job: Job, run: Run) -> list[Done]:
    worker = Worker(job)
    return [worker.judge(shard) for shard in run.shards()]


@pytest.mark.parametrize("pace", [ONE_BY_ONE, AS_ON_A_GPU])
def test_rows_say_what_the_service_answers_to_the_last_digit(
    tiny_folder: Path, tmp_path: Path, pace: Pace
) -> None:
    archive = archives.write(tmp_path / "in", GOOD)
    (done,) = judge(*begin(archive, tmp_path / "out", tiny_folder, pace))
    assert (done.films, done.refused, done.fault) == (len(GOOD), 0, "")
    found = {row["path"]: row for row in archives.rows(tmp_path / "out")}
    with running(Settings(model_dir=tiny_folder)) as live:
        for name, content in GOOD.items():
            answer, row = live.predict(content).json(), found[name]
            for column in ("probability", "label", "threshold", "threshold_overridden", "review"):
                assert row[column] == answer[column]
            assert row["reasons"] == [reason["code"] for reason in answer["reasons"]]
            assert {kind: row[kind] for kind in ("bacterial", "viral")} == answer["subtypes"]
            assert [row["model_name"], row["model_version"], row["model_sha256"]] == [
                answer["model"][part] for part in ("name", "version", "sha256")
            ]
    assert {"age", "view"} <= set(found["b/c/IM0001"]["reasons"])
    assert len({row["probability"] for row in found.values()}) == len(GOOD), "else it proves little"


def test_a_row_tells_of_its_film_and_of_nobody(tiny_folder: Path, tmp_path: Path) -> None:
    archive = archives.write(tmp_path / "in", GOOD)
    judge(*begin(archive, tmp_path / "out", tiny_folder))
    found = {row["path"]: row for row in archives.rows(tmp_path / "out")}
    row = found["b/c/IM0001"]
    assert (row["format"], row["width"], row["height"], row["status"]) == ("DICOM", 480, 400, "judged")
    assert row["sha256"] == hashlib.sha256(GOOD["b/c/IM0001"]).hexdigest()
    assert row["bytes"] == len(GOOD["b/c/IM0001"])
    assert row["sop_instance_uid"] is None
    assert "Jane" not in str(found)


def test_uids_are_there_where_they_are_asked_for(tiny_folder: Path, tmp_path: Path) -> None:
    archive = archives.write(tmp_path / "in", GOOD)
    judge(*begin(archive, tmp_path / "out", tiny_folder, with_uids=True))
    found = {row["path"]: row for row in archives.rows(tmp_path / "out")}
    assert found["b/c/IM0001"]["sop_instance_uid"] == archives.LATERAL.SOPInstanceUID
    assert found["b/c/IM0001"]["study_instance_uid"] == archives.LATERAL.StudyInstanceUID
    assert found["a/film.jpg"]["sop_instance_uid"] is None


@pytest.mark.parametrize("pace", [ONE_BY_ONE, AS_ON_A_GPU])
def test_bad_files_have_rows_that_say_why_and_cost_the_others_nothing(
    tiny_folder: Path, tmp_path: Path, pace: Pace
) -> None:
    archive = archives.write(tmp_path / "in", GOOD | {name: content for name, (content, _) in BAD.items()})
    (archive / "bad" / "gone.jpg").symlink_to("nowhere")
    (archive / "bad" / "large.png").write_bytes(bytes(2**20 + 1))
    (done,) = judge(*begin(archive, tmp_path / "out", tiny_folder, pace))
    expected = {name: code for name, (_, code) in BAD.items()}
    expected |= {"bad/gone.jpg": "file-not-opened", "bad/large.png": "body-too-large"}
    refused = archives.rows(tmp_path / "out", "refused")
    assert {row["path"]: row["status"] for row in refused} == expected
    assert all(row["detail"] and row["probability"] is None for row in refused)
    assert done.refused == len(expected)
    everything = archives.rows(tmp_path / "out")
    assert len(everything) == len(GOOD) + len(expected)
    assert [row for row in everything if row["status"] != "judged"] == refused
    assert Output(Folder(tmp_path / "out")).refused().total() == len(expected)
    assert "KNEE" not in str(everything)


def test_codes_are_those_of_the_service() -> None:
    assert {kind: KINDS[kind].code for kind in refusals.CODES} == refusals.CODES


def test_a_film_on_which_the_program_fails_costs_the_others_nothing(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app import imaging

    archive = archives.write(tmp_path / "in", GOOD)
    read = imaging.read

    def fails(data: bytes, **options: Any) -> Any:
        if data == GOOD["a/film.jpg"]:
            raise RuntimeError("Doe^Jane")
        return read(data, **options)

    monkeypatch.setattr(imaging, "read", fails)
    judge(*begin(archive, tmp_path / "out", tiny_folder))
    found = {row["path"]: row["status"] for row in archives.rows(tmp_path / "out")}
    assert found == dict.fromkeys(GOOD, "judged") | {"a/film.jpg": "internal"}
    assert "Jane" not in str(archives.rows(tmp_path / "out"))


def test_a_shard_that_is_done_is_not_done_again(tiny_folder: Path, tmp_path: Path) -> None:
    job, run = begin(archives.write(tmp_path / "in", GOOD), tmp_path / "out", tiny_folder)
    judge(job, run)
    before = archives.rows(tmp_path / "out")
    shutil.rmtree(tmp_path / "in")
    assert [done.films for done in judge(job, run)] == [0]
    assert archives.rows(tmp_path / "out") == before


def test_what_could_not_be_opened_is_tried_again_when_asked(tiny_folder: Path, tmp_path: Path) -> None:
    archive = archives.write(tmp_path / "in", GOOD)
    job, run = begin(archive, tmp_path / "out", tiny_folder)
    (archive / "a/film.jpg").rename(tmp_path / "film.jpg")
    judge(job, run)
    output = Output(Folder(tmp_path / "out"))
    assert output.refused() == {"file-not-opened": 1}
    (tmp_path / "film.jpg").rename(archive / "a/film.jpg")
    (archive / "a/dark.PNG").write_bytes(b"changed since")
    before = {row["path"]: row for row in archives.rows(tmp_path / "out")}
    assert output.with_code(run, refusals.NOT_OPENED) == {Shard(0, 0): 1}
    assert [done.films for done in judge(replace(job, retry=True), run)] == [1]
    assert output.refused() == {}
    after = {row["path"]: row for row in archives.rows(tmp_path / "out")}
    assert [row["status"] for row in after.values()] == ["judged"] * len(GOOD)
    assert [name for name in after if after[name] != before[name]] == ["a/film.jpg"], "good rows stay"


@pytest.mark.parametrize("away", ["gone", "empty"])
def test_while_input_is_away_no_row_is_written_and_none_is_lost(
    tiny_folder: Path, tmp_path: Path, away: str
) -> None:
    archive = archives.write(tmp_path / "in", GOOD)
    (archive / "never.jpg").symlink_to("nowhere")
    job, run = begin(archive, tmp_path / "out", tiny_folder)
    output = Output(Folder(tmp_path / "out"))

    def away_now() -> None:
        archive.rename(tmp_path / "unmounted")
        if away == "empty":
            archive.mkdir()

    away_now()
    assert [(done.faulty, done.films) for done in judge(job, run)] == [("input", 0)]
    assert output.pending(run) == [Shard(0, 0)]
    shutil.rmtree(archive, ignore_errors=True)
    (tmp_path / "unmounted").rename(archive)
    judge(job, run)
    before = archives.rows(tmp_path / "out")
    assert output.refused() == {"file-not-opened": 1}
    away_now()
    assert [done.faulty for done in judge(replace(job, retry=True), run)] == ["input"]
    assert archives.rows(tmp_path / "out") == before


def test_a_retry_that_is_cut_off_between_its_files_is_made_good_by_the_next(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archives.write(tmp_path / "in", GOOD)
    (archive / "a/film.jpg").rename(tmp_path / "film.jpg")
    job, run = begin(archives.write(archive, {"a/film.jpg": b""}), tmp_path / "out", tiny_folder)
    (archive / "a/film.jpg").unlink()
    judge(job, run)
    (tmp_path / "film.jpg").rename(archive / "a/film.jpg")
    output = Output(Folder(tmp_path / "out"))
    with monkeypatch.context() as patched:
        patched.setattr(Output, "_put_refused", lambda *_: (_ for _ in ()).throw(OSError(5, "gone")))
        judge(replace(job, retry=True), run)
    assert output.with_code(run, refusals.NOT_OPENED) == {Shard(0, 0): 1}
    judge(replace(job, retry=True), run)
    assert output.refused() == {}
    assert {row["status"] for row in archives.rows(tmp_path / "out")} == {"judged"}


def test_what_an_attempt_left_that_was_cut_off_does_not_count(tiny_folder: Path, tmp_path: Path) -> None:
    job, run = begin(archives.write(tmp_path / "in", GOOD), tmp_path / "out", tiny_folder)
    (tmp_path / "out" / "refused").mkdir()
    (tmp_path / "out" / "refused" / "000000-00.parquet").write_bytes(b"cut")
    output = Output(Folder(tmp_path / "out"))
    assert output.refused() == {}
    judge(job, run)
    assert output.refused() == {}


def test_a_full_disk_is_told_and_the_shard_stays_pending(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, run = begin(archives.write(tmp_path / "in", GOOD), tmp_path / "out", tiny_folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "put", full)
        (done,) = judge(job, run)
    assert (done.faulty, done.films) == ("output", 0)
    assert "No space left" in done.fault
    assert len(Output(Folder(tmp_path / "out")).pending(run)) == 1


def test_another_model_than_the_run_began_with_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    job, run = begin(archives.write(tmp_path / "in", GOOD), tmp_path / "out", tiny_folder)
    (tmp_path / "out" / "model.onnx").write_bytes(b"another")
    (done,) = judge(job, run)
    assert done.faulty == "device"
    assert "not the one" in done.fault


def test_a_batch_that_does_not_fit_into_memory_is_halved(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.engine.errors import OutOfDeviceMemory

    job, run = begin(archives.write(tmp_path / "in", GOOD), tmp_path / "out", tiny_folder, AS_ON_A_GPU)
    worker = Worker(job)
    judged = Classifier.classify

    def small(self: Classifier, radiographs: Any) -> Any:
        if len(radiographs) > 1:
            raise OutOfDeviceMemory("The device is out of memory")
        return judged(self, radiographs)

    monkeypatch.setattr(Classifier, "classify", small)
    assert [worker.judge(shard).refused for shard in run.shards()] == [0]
