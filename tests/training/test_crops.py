import numpy as np
import pytest

from training.crops import lung_box, to_lungs


def thorax() -> np.ndarray:
    """A bright body with two dark lungs in a dark room."""
    film = np.full((224, 224), 5, np.uint8)
    film[10:220, 12:212] = 170
    film[50:180, 35:95] = 60
    film[50:180, 130:190] = 60
    return film


def test_the_box_holds_both_lungs_with_a_margin() -> None:
    top, bottom, left, right = lung_box(thorax())
    assert top == pytest.approx(50 / 224 - 0.08, abs=0.03)
    assert bottom == pytest.approx(180 / 224 + 0.08, abs=0.03)
    assert left == pytest.approx(35 / 224 - 0.08, abs=0.03)
    assert right == pytest.approx(190 / 224 + 0.08, abs=0.03)
    cropped = to_lungs(thorax()[None])[0]
    assert cropped.shape == (224, 224)
    assert (cropped < 100).mean() > (thorax()[10:220, 12:212] < 100).mean()


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_film_without_lungs_stays_whole(level: int) -> None:
    film = np.full((1, 224, 224), level, np.uint8)
    assert np.array_equal(to_lungs(film), film)
