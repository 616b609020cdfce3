from pathlib import Path

import pytest

from bulk.errors import BulkError
from bulk.places import Bucket, Folder, Place, open_place
from bulk.urls import without_password


@pytest.fixture(params=["path", "file://", "fsspec's local", "fsspec's memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    urls = {
        "path": str(tmp_path / "p"),
        "file://": f"file://{tmp_path}/p",
        "fsspec's local": f"local://{tmp_path}/p",
        "fsspec's memory": f"memory://{tmp_path}/p",
    }
    return open_place(urls[request.param])


def test_what_is_put_is_read_listed_and_removed(place: Place) -> None:
    assert place.names("x") == set()
    place.put("x/b.parquet", b"first")
    place.put("x/b.parquet", b"second")
    place.put("x/a/c.parquet", b"third")
    assert place.read("x/b.parquet", 3) == b"sec"
    with place.open("x/b.parquet") as file:
        assert file.read() == b"second"
    assert [(file.name, file.size) for file in place.files()] == [("x/a/c.parquet", 5), ("x/b.parquet", 6)]
    place.remove("x/b.parquet")
    place.remove("x/b.parquet")
    assert place.names("x") - {"a"} == set()
    with pytest.raises(OSError):
        place.read("x/b.parquet", 10)
    place.remove("x")
    assert place.read("x/a/c.parquet", 10) == b"third", "a folder stays"


def test_paths_are_folders_and_other_urls_are_not(tmp_path: Path) -> None:
    assert isinstance(open_place(f"file://{tmp_path}"), Folder)
    assert isinstance(open_place("memory://x"), Bucket)


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Folder(tmp_path)
    place.put("a.parquet", b"whole")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError):
        patched.setattr("os.fsync", full)
        place.put("a.parquet", b"half")
    assert place.read("a.parquet", 10) == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_a_place_has_one_name_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b")
    for url in (f"{tmp_path}/a/", f"{tmp_path}/a/../a", f"{tmp_path}//a/.", f"file://{tmp_path}/a/"):
        assert open_place(url).shown == f"{tmp_path}/a"
    assert open_place(f"{tmp_path}/link/../b").shown == f"{tmp_path}/link/../b", "not the same as /b"
    assert {open_place(url).shown for url in ("memory://a", "memory://a/")} == {"memory://a"}


@pytest.mark.parametrize("url", ["nosuch://user:secret@host/films?key=secret", "ftp-x://u:secret@h/"])
def test_a_url_that_cannot_be_opened_is_told_without_its_password(url: str) -> None:
    with pytest.raises(BulkError) as error:
        open_place(url)
    assert "secret" not in str(error.value)
    assert "secret" not in without_password(url)
