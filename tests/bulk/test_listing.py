import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk import listing, refusals
from bulk.errors import ArchiveRefused, NoRegularFile
from bulk.listing import MOST_FILMS, SHARDS_A_PART, Listing, Shard
from bulk.places import File, Folder, order

NAMES = st.lists(st.sampled_from(["a", "a/b", "a/b/c", "a-b", "a.b/c", "b", "b/a", "é/x", "z"]), unique=True)


class Drawn(Folder):
    """An archive of files that are only names."""

    def __init__(self, path: Path, names: list[str]) -> None:
        super().__init__(path)
        self.names_there = names

    def files(self) -> Iterator[File]:
        return (File(name, 1, 0.0) for name in sorted(self.names_there, key=order))


def names(output: Folder, *listings: Listing) -> list[str]:
    return [
        file.name for each in listings for shard in each.all_shards() for file in listing.read(output, shard)
    ]


@pytest.mark.parametrize("films", [1, 15, 16, 17, 1000, 64_000])
def test_a_small_archive_is_cut_as_finely_as_a_part_allows(films: int) -> None:
    size = listing.shard_size(films)
    assert listing.LEAST_FILMS <= size <= MOST_FILMS
    assert -(-films // size) <= SHARDS_A_PART


def test_a_listing_has_every_film_once_in_order_whatever_the_number_of_its_parts(tmp_path: Path) -> None:
    there = [f"{number // 1000:03}/{number:06}" for number in range(SHARDS_A_PART * MOST_FILMS + 100)]
    output = Folder(tmp_path / "out")
    found = listing.write(Drawn(tmp_path, [*there, "notes.txt"]), output)
    assert (found.films, found.parts, found.others) == (len(there), 2, 1)
    assert found.shards == SHARDS_A_PART + 7, "the last part is cut finely"
    assert names(output, found) == there
    assert sum(sum(listing.sizes(output, part)) for part in range(2)) == len(there)


@settings(deadline=None)
@given(earlier=st.lists(NAMES, max_size=3), later=NAMES)
def test_an_update_lists_what_is_new_and_nothing_twice(
    tmp_path_factory: pytest.TempPathFactory, earlier: list[list[str]], later: list[str]
) -> None:
    output = Folder(tmp_path_factory.mktemp("out"))
    known: list[Listing] = []
    there: set[str] = set()
    for more in [*earlier, later]:
        there |= set(more)
        known.append(listing.write(Drawn(output._path, sorted(there)), output, known))
    listed = names(output, *known)
    assert sorted(listed) == sorted(there)
    assert sum(each.films for each in known) == len(there)


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("a/film.JPG", True),
        ("film.dcm", True),
        ("IM0001", True),
        ("1.2.840.113619.2", True),
        ("DICOMDIR", False),
        ("film.jpg.heatmap.png", False),
        ("notes.txt", False),
        ("findings.parquet", False),
    ],
)
def test_what_is_a_film_by_its_name(name: str, *, taken: bool) -> None:
    assert listing.is_film(name) is taken


def test_a_folder_is_looked_through_in_one_order_without_what_is_hidden_or_leads_back(
    tmp_path: Path,
) -> None:
    for name in ("b.png", "a/z.png", "a-b.png", "a/.hidden.png", ".trash/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    (tmp_path / "c.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    found = [file.name for file in Folder(tmp_path).files()]
    assert found == ["a/z.png", "a-b.png", "b.png", "c.png", "gone.png"]
    assert found == sorted(found, key=order)


def test_a_name_that_is_not_utf_8_comes_back_as_it_is(tmp_path: Path) -> None:
    archive, output = tmp_path / "in", Folder(tmp_path / "out")
    archive.mkdir()
    (archive / os.fsdecode(b"J\xfcrgen.jpg")).write_bytes(b"x")
    listing.write(Folder(archive), output)
    (film,) = listing.read(output, Shard(0, 0))
    assert Folder(archive).read(film.name, 10) == b"x"


def test_a_folder_that_cannot_be_opened_is_listed_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, output = tmp_path / "in", Folder(tmp_path / "out")
    for name in ("dr.smith", "plain", "open"):
        (archive / name).mkdir(parents=True)
        (archive / name / "film.jpg").write_bytes(b"x")
    look = os.scandir

    def denied(path: Path) -> Any:  # no mode keeps root out
        if path.name in {"dr.smith", "plain"}:
            raise PermissionError(13, "Permission denied")
        return look(path)

    with monkeypatch.context() as patched:
        patched.setattr("os.scandir", denied)
        found = listing.write(Folder(archive), output)
    assert names(output, found) == ["dr.smith", "open/film.jpg", "plain"]
    assert found.others == 0


def test_pipes_and_devices_are_listed_by_their_names_and_never_opened(tmp_path: Path) -> None:
    archive, output = tmp_path / "in", Folder(tmp_path / "out")
    archive.mkdir()
    os.mkfifo(archive / "pipe.jpg")
    os.mkfifo(archive / "pipe.txt")
    (archive / "zero.jpg").symlink_to("/dev/zero")
    found = listing.write(Folder(archive), output)
    assert (names(output, found), found.others) == (["pipe.jpg", "zero.jpg"], 1)
    for name in names(output, found):
        with pytest.raises(NoRegularFile) as error:
            Folder(archive).read(name, 10)
        assert refusals.refusal(error.value)[0] == "file-not-opened"


def test_an_input_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveRefused):
        Folder(tmp_path / "nowhere").files()
