from pathlib import Path

import pytest

from benchmarks.campaign import Campaign, OtherCampaign, sources_sha256, these_versions, this_machine
from benchmarks.compare import Visit
from tests.benchmarks.rows import CONDITIONS, visit


class Counted:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Visit:
        self.calls += 1
        return visit("fastapi", 0, 10.0)


def test_a_row_is_measured_once_and_read_from_then_on(tmp_path: Path) -> None:
    measure = Counted()
    first = Campaign(tmp_path, CONDITIONS).row(Visit, "compare", "0-fastapi", measure)
    again = Campaign(tmp_path, CONDITIONS)
    assert again.row(Visit, "compare", "0-fastapi", measure) == first
    assert measure.calls == 1
    assert again.rows(Visit, "compare") == [first]


def test_a_row_that_cannot_be_read_is_measured_again(tmp_path: Path) -> None:
    campaign, measure = Campaign(tmp_path, CONDITIONS), Counted()
    campaign.row(Visit, "compare", "0-fastapi", measure)
    (tmp_path / "compare" / "0-fastapi.json").write_text('{"target": "fastapi"')
    assert campaign.rows(Visit, "compare") == []
    campaign.row(Visit, "compare", "0-fastapi", measure)
    assert measure.calls == 2


def test_a_measurement_that_fails_leaves_no_row(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, CONDITIONS)

    def fail() -> Visit:
        raise RuntimeError("the server died")

    with pytest.raises(RuntimeError):
        campaign.row(Visit, "compare", "0-fastapi", fail)
    assert campaign.rows(Visit, "compare") == []


def test_rows_of_other_conditions_are_never_mixed_in(tmp_path: Path) -> None:
    started = Campaign(tmp_path, CONDITIONS).started
    with pytest.raises(OtherCampaign, match="model_sha256"):
        Campaign(tmp_path, CONDITIONS.model_copy(update={"model_sha256": "00" * 32}))
    assert Campaign(tmp_path, CONDITIONS).started == started


def test_the_command_of_a_part_is_kept(tmp_path: Path) -> None:
    Campaign(tmp_path, CONDITIONS).begin("compare", "python -m benchmarks compare")
    assert Campaign(tmp_path, CONDITIONS).command_of("compare") == "python -m benchmarks compare"


def test_a_machine_is_told_without_its_name() -> None:
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.memory_gib > 0.1
    assert machine.processor
    assert machine.system.startswith("Linux ")


def test_the_versions_that_matter_are_told() -> None:
    assert these_versions("cpu")["onnxruntime"]
    assert len(sources_sha256()) == 64
