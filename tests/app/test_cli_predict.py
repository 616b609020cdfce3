import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.settings import Settings
from tests import dicom_films, radiographs, tiny_model
from tests.app.command_line import ROOT, command, environment, run, run_in
from tests.app.live import PATIENCE_SECONDS, Live, running

# What each is to the tiny model.
PNEUMONIA = radiographs.jpeg(radiographs.draw(seed=1, opacity=True) // 2 + 110)
NORMAL = radiographs.png(np.random.default_rng(0).integers(40, 80, (64, 64)).astype(np.uint8))
FOR_REVIEW = radiographs.png(np.full((64, 64), 255, np.uint8))
DAMAGED = PNEUMONIA[: len(PNEUMONIA) // 2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with films, one of them without a suffix, and with what is no film."""
    archive = tmp_path / "archive"
    (archive / "ward" / ".trash").mkdir(parents=True)
    (archive / "b.jpg").write_bytes(PNEUMONIA)
    (archive / "A.PNG").write_bytes(NORMAL)
    (archive / "notes.txt").write_text("Dear colleague")
    (archive / ".hidden.jpg").write_bytes(PNEUMONIA)
    (archive / "b.jpg.heatmap.png").write_bytes(NORMAL)
    (archive / "ward" / "0001").write_bytes(FOR_REVIEW)
    (archive / "ward" / "b.jpg").write_bytes(DAMAGED)
    (archive / "ward" / ".trash" / "b.jpg").write_bytes(PNEUMONIA)
    return archive


def lines(ended: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.stdout.splitlines()]


def essence(body: dict[str, Any]) -> dict[str, Any]:
    """A prediction without what differs from run to run."""
    return {name: value for name, value in body.items() if name not in ("id", "timing_ms", "file")}


@pytest.fixture(params=["tiny", "shipped"])
def served(request: pytest.FixtureRequest, tiny_folder: Path) -> Iterator[Live]:
    model = tiny_folder if request.param == "tiny" else ROOT / "models" / "pneumonia" / "1"
    with running(Settings(model_dir=model, device="cpu", max_wait_s=60)) as live:
        yield live


def test_json_lines_are_the_answers_of_the_service_to_the_last_digit(served: Live, tmp_path: Path) -> None:
    drawn = [radiographs.draw(seed=seed, opacity=seed % 2 == 1) for seed in range(5)]
    contents = [PNEUMONIA, FOR_REVIEW, *map(radiographs.png, drawn)]
    films = [tmp_path / str(number) for number in range(len(contents))]
    for film, content in zip(films, contents, strict=True):
        film.write_bytes(content)
    ended = run(
        "predict", "--json", *map(str, films), MODEL_DIR=str(served.service.settings.model_dir), DEVICE="cpu"
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    answers = [served.predict(content).json() for content in contents]
    assert len({answer["probability"] for answer in answers}) > 3, "else it proves little"
    printed = lines(ended)
    assert [line["file"] for line in printed] == [str(film) for film in films]
    assert [line.keys() - {"file"} for line in printed] == [answer.keys() for answer in answers]
    assert list(map(essence, printed)) == list(map(essence, answers))
    assert len({line["id"] for line in printed}) == len(films)


def test_dicom_films_are_judged_and_painted_as_by_the_service(
    tiny_folder: Path, live: Live, tmp_path: Path
) -> None:
    samples = radiographs.draw(seed=1, opacity=True)
    contents = {
        "IM0001": dicom_films.encoded(dicom_films.film(samples)),
        "IM0002.dcm": dicom_films.encoded(dicom_films.film(samples, PatientAge="045Y", ViewPosition="LL")),
    }
    archive = tmp_path / "archive"
    archive.mkdir()
    for name, content in contents.items():
        (archive / name).write_bytes(content)
    pictures = tmp_path / "pictures"
    ended = run("predict", "--json", "--heatmap", str(pictures), str(archive), MODEL_DIR=str(tiny_folder))
    assert (ended.returncode, ended.stderr) == (0, "")
    for line, content in zip(lines(ended), contents.values(), strict=True):
        picture = Path(line.pop("heatmap"))
        assert essence(line) == essence(live.predict(content).json())
        explained = live.client.post("/explain", files={"file": content})
        assert picture.read_bytes() == explained.content
    assert {"age", "view"} <= {reason["code"] for reason in lines(ended)[1]["reasons"]}


def test_the_table_tells_label_probability_threshold_and_reasons_in_words(
    tiny_folder: Path, live: Live, tmp_path: Path
) -> None:
    (tmp_path / "grey.jpg").write_bytes(PNEUMONIA)
    (tmp_path / "dark.png").write_bytes(NORMAL)
    (tmp_path / "photograph.png").write_bytes(FOR_REVIEW)
    wide = environment(MODEL_DIR=str(tiny_folder)) | {"COLUMNS": "400"}
    ended = run_in(wide, "predict", str(tmp_path))
    assert (ended.returncode, ended.stderr) == (0, "")
    rows = {line.split()[0]: line for line in ended.stdout.splitlines() if str(tmp_path) in line}
    for name, content in (("grey.jpg", PNEUMONIA), ("dark.png", NORMAL), ("photograph.png", FOR_REVIEW)):
        answer = live.predict(content).json()
        cells = rows[str(tmp_path / name)].split(maxsplit=4)
        assert cells[1:4] == [answer["label"], f"{answer['probability']:.4f}", f"{answer['threshold']:.4f}"]
        words = [reason["words"] for reason in answer["reasons"]]
        assert cells[4].strip() == (" ".join(["A person should look.", *words]) if words else "no")
    assert "3 films: 2 PNEUMONIA, 1 NORMAL, 0 not judged. A person should look at 1." in ended.stdout
    assert "Model tiny 1, float16 on cpu, SHA-256 " in ended.stdout
    assert "For research and teaching: a reader decides." in ended.stdout
    assert "healthy" not in ended.stdout.lower()


def test_a_threshold_that_overrides_the_models_own_is_shown_as_such(
    tiny_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "film").write_bytes(PNEUMONIA)
    ended = run("predict", str(tmp_path / "film"), MODEL_DIR=str(tiny_folder), THRESHOLD="0.9999999")
    assert "threshold 1.0000, which overrides the model's own." in ended.stdout


def test_what_is_wrong_with_one_film_does_not_stop_the_others(tiny_folder: Path, tmp_path: Path) -> None:
    named = {
        "first": NORMAL,
        "damaged": DAMAGED,
        "empty": b"",
        "letter": b"Dear colleague",
        "last": PNEUMONIA,
    }
    for name, content in named.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "huge").write_bytes(bytes(2**20 + 1))
    (tmp_path / "bomb").write_bytes(radiographs.png_claiming(100_000, 100_000))
    names = ["first", "damaged", "missing", "empty", "letter", "huge", "bomb", "last"]
    arguments = [str(tmp_path / name) for name in names]
    told = {
        "damaged": "unreadable-image",
        "missing": "file-not-opened",
        "empty": "unreadable-image",
        "letter": "unsupported-image",
        "huge": "body-too-large",
        "bomb": "too-many-pixels",
    }
    ended = run("predict", "--json", *arguments, MODEL_DIR=str(tiny_folder), MAX_UPLOAD_MB="1")
    assert (ended.returncode, ended.stderr) == (3, "")
    printed = lines(ended)
    assert [line["file"] for line in printed] == arguments
    assert {Path(line["file"]).name: line["code"] for line in printed if "code" in line} == told
    assert [line["label"] for line in printed if "label" in line] == ["NORMAL", "PNEUMONIA"]
    assert {*printed[2]} == {"file", "code", "title", "detail"}
    assert printed[2]["detail"] == "No such file or directory."
    wide = environment(MODEL_DIR=str(tiny_folder), MAX_UPLOAD_MB="1") | {"COLUMNS": "300"}
    shown = run_in(wide, "predict", *arguments)
    assert shown.returncode == 3
    assert sum("not judged" in line for line in shown.stdout.splitlines()) == len(told) + 1, "and the sum"
    assert "The file cannot be opened: No such file or directory." in shown.stdout
    assert "8 films: 1 PNEUMONIA, 1 NORMAL, 6 not judged." in shown.stdout


def test_a_film_whose_answer_is_no_probability_fails_alone(model_folder: Path, tmp_path: Path) -> None:
    (model_folder / "model.onnx").write_bytes(tiny_model.build(nan="for dark films"))
    black = radiographs.png(np.zeros((64, 64), np.uint8))
    films = [tmp_path / str(number) for number in range(6)]
    for number, film in enumerate(films):
        film.write_bytes(black if number == 2 else PNEUMONIA)
    ended = run("predict", "--json", *map(str, films), MODEL_DIR=str(model_folder))
    assert ended.returncode == 3
    assert [line.get("code") for line in lines(ended)] == [None, None, "device-failed", None, None, None]


@pytest.mark.parametrize(
    ("options", "found", "left_out", "code"),
    [
        ((), ["A.PNG", "b.jpg"], 2, 0),
        (("--recursive",), ["A.PNG", "b.jpg", "ward/0001", "ward/b.jpg"], 2, 3),
    ],
    ids=["flat", "recursive"],
)
def test_of_a_folder_the_films_are_taken_in_order(
    tiny_folder: Path, folder: Path, options: tuple[str, ...], found: list[str], left_out: int, code: int
) -> None:
    ended = run("predict", "--json", *options, str(folder), MODEL_DIR=str(tiny_folder))
    assert ended.returncode == code
    assert [line["file"] for line in lines(ended)] == [str(folder / name) for name in found]
    assert ended.stderr == f"Left out, since they are no films: {left_out} of the folders' files.\n"


def test_standard_input_is_a_film(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(NORMAL)
    named = ["-", str(tmp_path / "film")]
    settings = environment(MODEL_DIR=str(tiny_folder))
    ended = run_in(settings, "predict", "--json", *named, stdin=PNEUMONIA)
    assert ended.returncode == 0
    assert [(line["file"], line["label"]) for line in lines(ended)] == [
        ("-", "PNEUMONIA"),
        (named[1], "NORMAL"),
    ]


def test_heat_maps_are_the_pictures_of_the_service_and_no_two_share_a_name(
    tiny_folder: Path, live: Live, folder: Path, tmp_path: Path
) -> None:
    pictures = tmp_path / "new" / "pictures"
    options = ("--json", "--recursive", "--heatmap", str(pictures))
    ended = run("predict", *options, str(folder), str(folder / "b.jpg"), MODEL_DIR=str(tiny_folder))
    assert ended.returncode == 3
    written = {line["file"]: line["heatmap"] for line in lines(ended)[:3]}
    assert written == {
        str(folder / name): str(pictures / f"{name}.heatmap.png") for name in ("A.PNG", "b.jpg", "ward/0001")
    }
    assert lines(ended)[4]["heatmap"] == str(pictures / "b.jpg-2.heatmap.png")
    for film, picture in written.items():
        explained = live.client.post("/explain", files={"file": Path(film).read_bytes()})
        assert Path(picture).read_bytes() == explained.content
    assert len([path for path in pictures.rglob("*") if path.is_file()]) == 4, "none of the damaged film"


def test_a_heat_map_that_cannot_be_written_is_told(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(PNEUMONIA)
    options = ("--json", "--heatmap", str(tmp_path / "film"))
    ended = run("predict", *options, str(tmp_path / "film"), MODEL_DIR=str(tiny_folder))
    assert ended.returncode == 3
    assert [line["code"] for line in lines(ended)] == ["heat-map-not-written"]
    assert (tmp_path / "film").read_bytes() == PNEUMONIA


@pytest.mark.parametrize(
    ("films", "options", "code"),
    [
        (("normal",), ("pneumonia", "review"), 0),
        (("normal", "pneumonia"), (), 0),
        (("normal", "pneumonia"), ("pneumonia",), 4),
        (("normal", "pneumonia"), ("review",), 0),
        (("normal", "photograph"), ("review",), 4),
        (("photograph", "missing"), ("review",), 3),
    ],
)
def test_the_exit_code_is_that_of_the_worst_outcome(
    tiny_folder: Path, tmp_path: Path, films: tuple[str, ...], options: tuple[str, ...], code: int
) -> None:
    for name, content in (("normal", NORMAL), ("pneumonia", PNEUMONIA), ("photograph", FOR_REVIEW)):
        (tmp_path / name).write_bytes(content)
    arguments = [word for option in options for word in ("--fail-on", option)]
    ended = run("predict", *arguments, *(str(tmp_path / film) for film in films), MODEL_DIR=str(tiny_folder))
    assert ended.returncode == code


@pytest.mark.parametrize("arguments", [(), ("--fail-on", "all", "film"), ("nested",)])
def test_wrong_arguments_are_refused(tiny_folder: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "nested" / "inner").mkdir(parents=True)
    (tmp_path / "nested" / "inner" / "film.png").write_bytes(NORMAL)
    words = [str(tmp_path / word) if word == "nested" else word for word in arguments]
    ended = run("predict", *words, MODEL_DIR=str(tiny_folder))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr


def test_a_heat_map_of_a_model_that_has_none_is_refused(model_folder: Path, tmp_path: Path) -> None:
    (model_folder / "model.onnx").write_bytes(tiny_model.build(heatmap=False))
    (tmp_path / "film").write_bytes(NORMAL)
    arguments = ("--heatmap", str(tmp_path), str(tmp_path / "film"))
    ended = run("predict", *arguments, MODEL_DIR=str(model_folder))
    assert ended.returncode == 2
    assert "this model has no heat map" in ended.stderr


@pytest.mark.parametrize("option", [(), ("--json",)], ids=["table", "json"])
def test_a_files_name_does_not_steer_the_terminal(
    tiny_folder: Path, tmp_path: Path, option: tuple[str, ...]
) -> None:
    name = b"\x1b[2J[red]\xc2\x9b2J\xff\n.png"
    path = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118 - its name is no text
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(NORMAL)
    wide = environment(MODEL_DIR=str(tiny_folder)) | {"COLUMNS": "300"}
    ended = run_in(wide, "predict", *option, str(tmp_path))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert not {"\x1b", "\x9b"} & {*ended.stdout}
    assert "[red]" in ended.stdout


def test_progress_is_shown_on_a_terminal_and_nowhere_else(tiny_folder: Path, folder: Path) -> None:
    arguments = command("predict", "--json", *[str(folder / "b.jpg")] * 50)
    terminal, standard_error = os.openpty()
    try:
        process = subprocess.Popen(
            arguments,
            cwd=ROOT,
            env=environment(MODEL_DIR=str(tiny_folder)) | {"TERM": "xterm", "COLUMNS": "100"},
            stdout=subprocess.PIPE,
            stderr=standard_error,
        )
        os.close(standard_error)
        shown = b""
        try:
            while piece := os.read(terminal, 4096):
                shown += piece
        except OSError:  # what Linux answers once nobody holds the other side
            pass
        printed, _ = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        os.close(terminal)
    assert process.returncode == 0
    assert b"judging" in shown
    assert b"/50" in shown
    assert len([json.loads(line) for line in printed.splitlines()]) == 50
    quiet = run("predict", "--json", *[str(folder / "b.jpg")] * 50, MODEL_DIR=str(tiny_folder))
    assert quiet.stderr == ""


def test_interrupted_it_ends_at_once_with_the_code_for_that(tiny_folder: Path, folder: Path) -> None:
    # A shell starts what runs in its background with this signal ignored.
    heeding = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "runpy.run_module('app', run_name='__main__', alter_sys=True)"
    )
    arguments = ["predict", "--json", *[str(folder / "b.jpg")] * 2000]
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", heeding, *arguments],
        cwd=ROOT,
        env=environment(MODEL_DIR=str(tiny_folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    first = process.stdout.readline()  # the pipe does not hold all that is to come
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, said) == (130, b"")
    printed = [json.loads(line) for line in (first + rest).splitlines()]
    assert 0 < len(printed) < 2000
