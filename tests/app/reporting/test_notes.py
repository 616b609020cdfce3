import sqlite3
from pathlib import Path

import pytest

from app.reporting.notes import DONE, START, Notes, Position


def test_notes_outlive_their_bridge(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "notes")
    assert (notes.position, notes.outcome("film")) == (START, None)
    notes.move_to(Position(7, "a mark"))
    notes.finish("film", DONE, ["report", "capture"])
    notes.finish("knee", "unsuitable-film", [])
    notes.close()
    again = Notes(tmp_path / "notes")
    assert again.position == Position(7, "a mark")
    assert (again.outcome("film"), again.outcome("knee")) == (DONE, "unsuitable-film")
    assert sorted(again.results("film")) == ["capture", "report"]
    assert again.is_result("report")
    assert not again.is_result("film")
    again.close()


def test_notes_can_be_taken_again(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "notes")
    for seq in (3, 9, 2):
        notes.move_to(Position(seq, ""))
    for outcome in ("failed", DONE):
        notes.finish("film", outcome, ["report"])
    assert (notes.position.seq, notes.outcome("film"), notes.results("film")) == (2, DONE, ["report"])
    notes.close()


def test_another_file_is_not_taken_for_notes(tmp_path: Path) -> None:
    (tmp_path / "notes").write_bytes(b"something else" * 100)
    with pytest.raises(sqlite3.Error):
        Notes(tmp_path / "notes")
