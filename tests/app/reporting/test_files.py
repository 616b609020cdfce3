"""Films on disk whose results cannot be made."""

from pathlib import Path
from typing import Any

import pytest

from app.engine.classifier import Classifier
from app.reporting import files, results
from tests.app.reporting import films


@pytest.mark.parametrize("error", [ValueError("Doe^Jane"), MemoryError()])
def test_what_no_result_can_be_made_of_fails_alone(
    tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    made = results.report_file
    bad = films.film(seed=2)
    (tmp_path / "bad.dcm").write_bytes(bad)
    (tmp_path / "good.dcm").write_bytes(films.film(seed=1))

    def report_file(film: bytes, *others: Any) -> bytes:
        if film == bad:
            raise error
        return made(film, *others)

    monkeypatch.setattr(files, "report_file", report_file)
    told: list[str] = []
    outcome = files.write_results(
        classifier,
        [tmp_path / "bad.dcm", tmp_path / "good.dcm"],
        tmp_path / "out",
        max_pixels=10**7,
        max_bytes=10**7,
        tell=lambda film, words: told.append(words),
    )
    assert outcome is files.Outcome.FAILED
    assert told[0] == f"No result can be made of it: {type(error).__name__}."
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.sr.dcm", "good.sc.dcm"}
