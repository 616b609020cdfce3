from pathlib import Path, PurePath

from hypothesis import given
from hypothesis import strategies as st

from app.local.films import HEATMAP_ENDING, FilmFile, find, heatmap_places

NAMES = st.sampled_from(["a.jpg", "a.jpg-2", "a.png", "b/a.jpg", "b/a.jpg-2", "."])


@given(st.lists(NAMES, max_size=12))
def test_no_two_heat_maps_share_a_place_and_none_is_taken_for_a_film(names: list[str]) -> None:
    films = [FilmFile(Path("archive", name), PurePath(name)) for name in names]
    places = heatmap_places(films, Path("out"))
    assert len(set(places)) == len(films)
    for film, place in zip(films, places, strict=True):
        assert place.name.endswith(HEATMAP_ENDING)
        assert place.parent == Path("out") / film.inside.parent


def test_a_link_back_into_the_folder_is_not_followed_for_ever(tmp_path: Path) -> None:
    (tmp_path / "film.png").write_bytes(b"x")
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "linked.png").symlink_to(tmp_path / "film.png")
    found = find([tmp_path], recursive=True, max_bytes=10)
    assert [film.inside.name for film in found.films] == ["film.png", "linked.png"]


def test_a_dicom_file_needs_no_suffix_and_an_index_of_such_files_is_no_film(tmp_path: Path) -> None:
    for name in ("IM0001", "DICOMDIR"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    found = find([tmp_path], recursive=False, max_bytes=10)
    assert ([film.inside.name for film in found.films], found.left_out) == (["IM0001"], 1)


def test_no_more_of_a_file_is_read_than_tells_that_it_is_too_large() -> None:
    assert len(FilmFile(Path("/dev/zero"), PurePath("zero")).read(1000)) == 1001
