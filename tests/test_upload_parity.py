"""What a user uploads against the squashed copy of it that data sets keep: the answer must not move."""

import io
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from app.engine.classifier import Classifier
from app.imaging import read
from tests import radiographs

SHIPPED = Path(__file__).parents[1] / "models" / "pneumonia" / "1" / "model.onnx"
LOGIT_TOLERANCE = 0.1
SIDE = 224


def squashed(film: bytes) -> bytes:
    """The film at full resolution, squashed to the square and saved again, as data sets are prepared."""
    with Image.open(io.BytesIO(film)) as image:
        square = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    square.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def logits(classifier: Classifier, films: list[bytes]) -> npt.NDArray[np.float64]:
    """Pneumonia logits: the means of the heat maps."""
    pixels = np.stack([read(film, size=SIDE).pixels for film in films])
    maps = [classifier.run(film[None]).heatmap for film in pixels]
    return np.array([heatmap.mean() for heatmap in maps if heatmap is not None], np.float64)


@pytest.fixture(scope="module")
def shipped() -> Classifier:
    return Classifier.open_file(SHIPPED)


def test_a_synthetic_upload_and_its_squashed_copy_get_the_same_answer(shipped: Classifier) -> None:
    films = [
        radiographs.jpeg(
            radiographs.draw(1500 + 60 * seed, 1100 + 40 * seed, seed=seed, opacity=seed % 2 == 0)
        )
        for seed in range(8)
    ]
    moved = np.abs(logits(shipped, films) - logits(shipped, [squashed(film) for film in films]))
    assert np.percentile(moved, 95) <= LOGIT_TOLERANCE


def test_a_real_upload_and_its_copy_in_the_data_set_get_the_same_answer(
    shipped: Classifier, pytestconfig: pytest.Config
) -> None:
    data, uploads = (pytestconfig.getoption(name) for name in ("--data", "--full-size"))
    if not (data and uploads):
        pytest.skip("needs real films: --data DIR --full-size DIR")
    originals = sorted(path for path in Path(uploads).rglob("*") if path.is_file())
    copies = [Path(data) / "train" / path.parent.name / path.name for path in originals]
    moved = np.abs(
        logits(shipped, [path.read_bytes() for path in originals])
        - logits(shipped, [path.read_bytes() for path in copies])
    )
    found = ", ".join(f"{share} % {np.percentile(moved, share):.4f}" for share in (50, 95, 100))
    sys.stdout.write(f"\nThe logit of {len(moved)} films moves by at most: {found}\n")
    assert len(moved) > 0
    assert np.percentile(moved, 95) <= LOGIT_TOLERANCE
