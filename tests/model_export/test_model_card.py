import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.engine.manifest import (
    Calibration,
    Data,
    Estimate,
    Evaluation,
    ExposureLimits,
    Manifest,
    Novelty,
    Threshold,
    Training,
    UncertaintyBand,
)
from model_export.model_card import FORBIDDEN_USE, PROJECT, write_card
from model_export.reporting_items import CLAIM_2024, TRIPOD_AI, Item, answer, facts
from model_export.verify import Int8Parity, Parity

SECTIONS = (
    "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
    "Quantitative analyses", "Ethical considerations", "Caveats and recommendations", "CLAIM 2024", "TRIPOD+AI",
)  # fmt: skip
TRIPOD_NUMBERS = (  # noqa: SIM905 - easier to compare with the guideline
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17 "
    "18a 18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
).split()
BOTH = pytest.mark.parametrize("items", [CLAIM_2024, TRIPOD_AI], ids=["CLAIM", "TRIPOD"])


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.0123, high=value + 0.0045)


def evaluation(start: float, slices: dict[str, Estimate]) -> Evaluation:
    """Every figure another one, so that none can stand for another."""
    figures = ("accuracy", "sensitivity", "specificity", "precision", "f1", "auc", "average_precision")
    return Evaluation(
        films=1042,
        normal=268,
        pneumonia=774,
        patients=357,
        **{name: estimate(start + 0.0101 * place) for place, name in enumerate(figures)},
        true_negatives=251,
        false_positives=17,
        false_negatives=27,
        true_positives=747,
        slices=slices,
    )


SLICES = {
    "sensitivity_viral": estimate(0.6111),
    "specificity_hard_normal": estimate(0.6222),
    "auc_against_style": estimate(0.6333),
}


def manifest(precision: Any = "float16", *, start: float = 0.9, **changes: Any) -> Manifest:
    """Of a run on the public films."""
    whole = Manifest(
        name="pneumonia",
        version="7",
        created=datetime(2026, 1, 2, tzinfo=UTC),
        architecture="resnet50",
        precision=precision,
        input_size=224,
        threshold=Threshold(
            value=start / 2,
            rule="tuned for recall",
            target_sensitivity=0.95,
            sensitivity=estimate(start / 3),
            specificity=estimate(start / 4),
        ),
        calibration=Calibration(
            temperature=0.7,
            prevalence=0.743,
            expected_calibration_error=0.0151,
            brier_score=0.0202,
            uncalibrated_error=0.1089,
            uncalibrated_brier_score=0.0474,
        ),
        uncertainty=UncertaintyBand(low=0.2207, high=0.98, coverage=0.99, share_of_films=0.098),
        novelty=Novelty(limit=4.092, share_of_films=0.011, method="distance of the features"),
        exposure=ExposureLimits(brightness_low=60, brightness_high=180, contrast_low=90),
        evaluation={
            "held_out_fold": evaluation(start, SLICES),
            "held_out_fold_restyled": evaluation(start - 0.02, SLICES),
            "held_out_fold_reframed": evaluation(start - 0.04, SLICES),
        },
        training=Training(
            command="python -m training fit --data DIR",
            data=Data(name="Films", source="Somewhere", licence="CC BY 4.0", films=4174, films_sha256="e52e"),
            folds=5,
            held_out_fold=0,
            seed=0,
            libraries={"keras": "3.15.1"},
        ),
        licence="Apache-2.0",
        intended_use="Research and teaching.",
    )
    return whole.model_copy(update=changes)


def users_own() -> Manifest:
    """Of a user's own network, exported without films."""
    return manifest(
        threshold=Threshold(value=0.5, rule="0.5, as no films were given to tune it on"),
        calibration=Calibration(temperature=1),
        uncertainty=None,
        novelty=None,
        exposure=None,
        evaluation={},
        training=Training(command="a user's own network"),
    )


def without_slices() -> Manifest:
    return manifest(evaluation={"held_out_fold": evaluation(0.9, {})})


def without_kinds() -> Manifest:
    slices = {name: value for name, value in SLICES.items() if "viral" not in name}
    return manifest(evaluation={"held_out_fold": evaluation(0.9, slices)})


CASES = {
    "a run": manifest,
    "without slices": without_slices,
    "without kinds": without_kinds,
    "a user's own": users_own,
}


def card(path: Path, *files: Manifest) -> str:
    names = ("model.onnx", "model.int8.onnx")[: len(files)]
    manifests = dict(zip(names, files, strict=True))
    int8 = Int8Parity(auc=0.99, auc_half=0.991, labels_changed=0.001) if len(files) > 1 else None
    parity = Parity(films=16, probability=1e-7, heatmap=1e-6, half=2e-4)
    write_card(path, manifests, dict.fromkeys(names, 40_000_000), parity, int8)
    return path.read_text()


def test_claim_has_its_44_items_and_tripod_its_52_parts() -> None:
    assert [item.number for item in CLAIM_2024] == [str(number) for number in range(1, 45)]
    assert [item.number for item in TRIPOD_AI] == TRIPOD_NUMBERS
    assert len(TRIPOD_NUMBERS) == 52
    assert len({re.sub(r"\D", "", number) for number in TRIPOD_NUMBERS}) == 27


@BOTH
@pytest.mark.parametrize("case", CASES)
def test_every_item_is_answered_for_every_kind_of_model(items: tuple[Item, ...], case: str) -> None:
    known = facts(CASES[case](), "the report")
    for item in items:
        found = answer(item, known, trained_here=CASES[case]().training.data is not None)
        assert len(found.words) > 5, item
        assert "{" not in found.words, item
        assert "|" not in found.words + found.asks, item
        assert "  " not in found.words, item


@BOTH
def test_nothing_is_said_of_the_public_films_where_the_network_was_trained_elsewhere(
    items: tuple[Item, ...],
) -> None:
    known = facts(users_own(), "the report")
    answers = [answer(item, known, trained_here=False) for item in items]
    said = " ".join(found.words for found in answers)
    assert not re.search(r"Kermany|Guangzhou|fold \d|public|calibrated|convolutional|Apache", said)
    assert {found.status for found, item in zip(answers, items, strict=True) if item.ours} == {"unknown"}


def test_no_interval_and_no_limit_is_claimed_that_is_not_there(tmp_path: Path) -> None:
    text = card(tmp_path / "MODEL_CARD.md", users_own())
    assert "no film is marked for a person's review" in text
    assert "is answered and marked for a person's review" not in text
    assert "bootstrap intervals over 1,000 resamples of patients, on" not in text
    assert "a film that is unlike the training films, or is badly exposed" in card(
        tmp_path / "MODEL_CARD.md", manifest()
    )


def test_a_figure_that_an_item_asks_for_comes_from_the_manifest() -> None:
    known = facts(manifest(), "the report")
    by_number = {item.number: answer(item, known, trained_here=True).words for item in CLAIM_2024}
    assert "sensitivity 0.9101 (0.8978–0.9146)" in by_number["37"]
    assert "specificity hard normal 0.6222 (0.6099–0.6267)" in by_number["38"]
    assert "27 pneumonia films missed, 17 false alarms" in by_number["39"]
    assert "Age and sex of each film are unknown" in by_number["36"]


@pytest.mark.parametrize("case", CASES)
def test_the_card_has_the_nine_sections_and_the_two_guidelines(tmp_path: Path, case: str) -> None:
    text = card(tmp_path / "MODEL_CARD.md", CASES[case]())
    assert tuple(re.findall(r"^## (.+)$", text, re.M)) == SECTIONS
    assert FORBIDDEN_USE in text
    rows = [line for line in text.splitlines() if re.match(r"\| \d+[a-g]? \|", line)]
    assert len(rows) == 44 + 52
    assert all(line.count(" | ") == 3 for line in rows)


def test_every_figure_of_every_manifest_stands_in_the_card_with_its_interval(tmp_path: Path) -> None:
    files = [manifest(), manifest("int8", start=0.8)]
    text = card(tmp_path / "MODEL_CARD.md", *files).replace(" – ", "–")

    def estimates(part: Any) -> list[Any]:
        if not isinstance(part, dict):
            return []
        if part.keys() == {"value", "low", "high"}:
            return [part]
        return [found for inside in part.values() for found in estimates(inside)]

    for each in files:
        dumped = each.model_dump()
        changed = [dumped["evaluation"].pop(f"held_out_fold_{name}") for name in ("restyled", "reframed")]
        found = estimates(dumped)
        assert len(found) == 7 + 3 + 2
        told = [part[name] for part in changed for name in ("auc", "sensitivity", "specificity")]
        for figure in [*found, *told]:
            assert f"{figure['value']:.4f}" in text
            assert f"{figure['low']:.4f}–{figure['high']:.4f}" in text
    for words in (
        "0.0151",
        "0.0202",
        "0.1089",
        "0.0474",
        "0.2207–0.9800",
        "9.8%",
        "4.092",
        "74.3%",
        "747",
        "e52e",
    ):
        assert words in text


def test_slices_on_which_the_model_is_worse_are_named_as_weak(tmp_path: Path) -> None:
    text = card(tmp_path / "MODEL_CARD.md", manifest())
    assert "Weak on viral pneumonia: sensitivity 0.6111" in text
    assert "Weak on viral" not in card(tmp_path / "MODEL_CARD.md", without_kinds())


def test_what_is_lost_on_films_in_the_other_classs_style_is_named(tmp_path: Path) -> None:
    text = card(tmp_path / "MODEL_CARD.md", manifest())
    assert "- Films restyled: AUC 0.9305" in text
    assert "- Films reframed: AUC 0.9105" in text
    assert "| `model.onnx` | as they are | 0.9505" in text
    assert "held out fold restyled" not in text.lower()
    assert "Films restyled" not in card(tmp_path / "MODEL_CARD.md", without_kinds())


def test_the_report_is_a_link_in_the_project_and_a_name_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "`docs/report.md`" in card(tmp_path / "MODEL_CARD.md", manifest())
    assert Path(__file__).resolve().parents[2] == PROJECT
    monkeypatch.setattr("model_export.model_card.PROJECT", tmp_path)
    (tmp_path / "models" / "pneumonia" / "1").mkdir(parents=True)
    text = card(tmp_path / "models" / "pneumonia" / "1" / "MODEL_CARD.md", manifest())
    assert "[the report](../../../docs/report.md)" in text
