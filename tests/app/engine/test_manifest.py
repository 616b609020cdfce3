import datetime
from typing import Any

import pytest
from pydantic import ValidationError

from app.engine.manifest import Distribution, Manifest, Reference
from app.engine.signals import EDGES
from tests import tiny_model


def test_a_manifest_older_than_the_reference_is_valid() -> None:
    older = tiny_model.manifest().model_dump(mode="json")
    del older["reference"]
    assert Manifest.model_validate(older).reference is None


@pytest.mark.parametrize(
    ("edges", "shares", "fault"),
    [
        ((1, 2), (0.5,), "one share for each edge"),
        ((2, 1), (0.5, 0.5), "edges must rise"),
        ((1, 1), (0.5, 0.5), "edges must rise"),
        ((1, 2), (0.5, 0.4), "must not fall"),
        ((1, 2), (0.5, 1.1), "less than or equal to 1"),
        ((1, float("nan")), (0.5, 0.6), "finite"),
        ((), (), "at least 1"),
    ],
)
def test_a_distribution_that_is_none_is_refused(edges: Any, shares: Any, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Distribution(edges=edges, shares=shares)


def test_a_reference_survives_the_model_file() -> None:
    spread = Distribution(edges=EDGES["probability"], shares=(1 / 3,) * len(EDGES["probability"]))
    reference = Reference(
        source="tests",
        measured=datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC),
        films=3,
        review_share=1 / 3,
        probability=spread,
        brightness=Distribution(edges=(1.0,), shares=(0.0,)),
    )
    manifest = tiny_model.manifest(reference=reference)
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest
