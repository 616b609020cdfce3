from pathlib import Path

import pytest

from app.imaging import read
from benchmarks import films


def test_drawn_films_are_full_size_films_for_the_decoder() -> None:
    film = films.draw(films.WIDTH, films.HEIGHT, seed=1)
    decoded = read(film, size=224)
    assert decoded.width == pytest.approx(films.WIDTH, rel=0.11)
    assert decoded.height == pytest.approx(films.HEIGHT, rel=0.11)
    assert decoded.exposure.contrast > 50
    assert 50_000 < len(film) < 500_000


def test_drawn_films_repeat_with_their_seed_and_differ_without() -> None:
    assert films.draw(300, 200, seed=1) == films.draw(300, 200, seed=1) != films.draw(300, 200, seed=2)


def test_a_folders_films_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("b.png", "a/z.JPG", "a/y.jpeg"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "notes.txt").write_text("no film")
    assert films.load(tmp_path) == [b"a/y.jpeg", b"a/z.JPG", b"b.png"]


def test_a_folder_without_films_is_refused(tmp_path: Path) -> None:
    with pytest.raises(films.NoFilms):
        films.load(tmp_path)


def test_a_resized_film_has_the_width_asked_for_and_its_shape() -> None:
    film = films.draw(300, 200)
    before, after = read(film, size=32), read(films.resized(film, 150), size=32)
    assert after.width == 150
    assert after.height / after.width == pytest.approx(before.height / before.width, abs=0.01)


def test_the_digest_tells_films_and_their_order_apart() -> None:
    assert len({films.digest([b"a", b"b"]), films.digest([b"b", b"a"]), films.digest([b"ab"])}) == 3
