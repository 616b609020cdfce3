"""The rules for Prometheus, run by promtool over made-up series: each alert fires alone, and only then."""

import math
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.api.errors import ALL_KINDS
from tests.required_tools import find_tool
from tests.shipping.repository import ROOT, RULES, load_yaml

AT_ONE = 'job="pneumoscope", instance="one:8000"'
AT_TWO = 'job="pneumoscope", instance="two:8000"'
PREDICTED = 'route="/predict", status="200"'

HEALTHY = {
    f"up{{{AT_ONE}}}": "1",
    f"pneumoscope_ready{{{AT_ONE}}}": "1",
    f"pneumoscope_provider_fell_back{{{AT_ONE}}}": "0",
    f"pneumoscope_threshold{{{AT_ONE}}}": "0.72",
    f'pneumoscope_model_info{{{AT_ONE}, sha256="aa"}}': "1",
    f"pneumoscope_queue_depth{{{AT_ONE}}}": "5",
    f"pneumoscope_uploads{{{AT_ONE}}}": "5",
    f"pneumoscope_queue_limit{{{AT_ONE}}}": "64",
    f"pneumoscope_expected_wait_seconds{{{AT_ONE}}}": "0.1",
    f"pneumoscope_max_wait_seconds{{{AT_ONE}}}": "0.25",
    f"process_start_time_seconds{{{AT_ONE}}}": "0",
    f"process_resident_memory_bytes{{{AT_ONE}}}": "400000000",
    f"process_open_fds{{{AT_ONE}}}": "40",
    f"process_max_fds{{{AT_ONE}}}": "1024",
    # Sixty films a minute; one request in thirty gets 429, one film in twenty is no film, none fails.
    f"pneumoscope_request_seconds_count{{{AT_ONE}, {PREDICTED}}}": "0+60",
    f'pneumoscope_request_seconds_count{{{AT_ONE}, route="/predict", status="429"}}': "0+2",
    f'pneumoscope_rejected_total{{{AT_ONE}, reason="overloaded"}}': "0+2",
    f'pneumoscope_request_seconds_bucket{{{AT_ONE}, {PREDICTED}, le="0.1"}}': "0+50",
    f'pneumoscope_request_seconds_bucket{{{AT_ONE}, {PREDICTED}, le="1.0"}}': "0+60",
    f'pneumoscope_request_seconds_bucket{{{AT_ONE}, {PREDICTED}, le="2.5"}}': "0+60",
    f'pneumoscope_request_seconds_bucket{{{AT_ONE}, {PREDICTED}, le="+Inf"}}': "0+60",
    f'pneumoscope_rejected_total{{{AT_ONE}, reason="unreadable-image"}}': "0+3",
    f'pneumoscope_predictions_total{{{AT_ONE}, label="NORMAL", review="false"}}': "0+60",
    # A scanner of ports is no reason to wake anybody.
    f'pneumoscope_request_seconds_count{{{AT_ONE}, route="unmatched", status="404"}}': "0+600",
    f'pneumoscope_rejected_total{{{AT_ONE}, reason="not-found"}}': "0+600",
}
"""What an instance that nothing is wrong with tells, a sample a minute: a level, or a start and an increase."""

DAY = 24 * 60
HOUR = 60
WEEK = 7 * DAY


@dataclass(frozen=True)
class Case:
    """What is other than healthy, and the alerts that must fire then; "" takes a series away."""

    name: str
    changed: dict[str, str]
    firing: tuple[str, ...] = ()
    minutes: int = 60
    step: int = 1
    base: dict[str, str] = field(default_factory=lambda: HEALTHY)
    rules: str = "service.yml"


def slow(share: float, films: int = 60) -> dict[str, str]:
    """Of `films` a minute, `share` take longer than a second."""
    quick = films * (1 - share)
    return {
        f"pneumoscope_request_seconds_count{{{AT_ONE}, {PREDICTED}}}": f"0+{films}",
        f'pneumoscope_request_seconds_bucket{{{AT_ONE}, {PREDICTED}, le="0.1"}}': f"0+{quick}",
        f'pneumoscope_request_seconds_bucket{{{AT_ONE}, {PREDICTED}, le="1.0"}}': f"0+{quick}",
        f'pneumoscope_request_seconds_bucket{{{AT_ONE}, {PREDICTED}, le="2.5"}}': f"0+{films}",
        f'pneumoscope_request_seconds_bucket{{{AT_ONE}, {PREDICTED}, le="+Inf"}}': f"0+{films}",
    }


def answered(status: int, increase: str, route: str = "/predict") -> dict[str, str]:
    """So many more answers with `status` a minute."""
    return {
        f'pneumoscope_request_seconds_count{{{AT_ONE}, route="{route}", status="{status}"}}': f"0+{increase}"
    }


def problems(code: str, increase: str) -> dict[str, str]:
    """So many more problems with this code a minute."""
    return {f'pneumoscope_rejected_total{{{AT_ONE}, reason="{code}"}}': f"0+{increase}"}


def judged(values: str) -> dict[str, str]:
    """Films judged."""
    return {f'pneumoscope_predictions_total{{{AT_ONE}, label="NORMAL", review="false"}}': values}


SERVICE = [
    Case("an ordinary day", {}),
    Case("no answer", {f"up{{{AT_ONE}}}": "0"}, ("PneumoscopeDown",)),
    Case(
        "no answer from a pod, as the Prometheus Operator names its job",
        {'up{job="pneumoscope/pneumoscope", instance="10.0.0.7:8000"}': "0"},
        ("PneumoscopeDown",),
    ),
    Case("no answer from something else", {'up{job="node", instance="one:9100"}': "0"}),
    Case("no answer for less than a minute", {f"up{{{AT_ONE}}}": "1x59 0"}),
    Case("no target", {f"up{{{AT_ONE}}}": ""}, ("PneumoscopeAbsent",)),
    Case("not ready", {f"pneumoscope_ready{{{AT_ONE}}}": "0"}, ("PneumoscopeNotReady",)),
    Case("not ready while it warms", {f"pneumoscope_ready{{{AT_ONE}}}": "0x3 1x60"}),
    Case(
        "four starts in an hour",
        {f"process_start_time_seconds{{{AT_ONE}}}": "0x10 600x10 1200x10 1800x30"},
        ("PneumoscopeRestartsOften",),
    ),
    Case("one restart", {f"process_start_time_seconds{{{AT_ONE}}}": "0x10 600x50"}),
    Case("every fiftieth film is slow", slow(0.02), ("PneumoscopeSlow",)),
    Case("every two hundredth film is slow", slow(0.005)),
    Case("one film a minute, each slow", slow(1, films=1) | answered(429, "0")),
    Case("a fiftieth of the requests fails", answered(503, "1.3"), ("PneumoscopeErrors",)),
    Case(
        "infer fails", answered(500, "2", "/v2/models/{model}/infer"), ("PneumoscopeErrors",)
    ),
    Case("one request in two hundred fails", answered(503, "0.3")),
    Case("readiness is answered with 503", answered(503, "60", "/health/ready")),
    Case(
        "the first errors there have ever been, all within a minute",
        {f'pneumoscope_request_seconds_count{{{AT_ONE}, route="/predict", status="503"}}': "0x54 40x5"},
        ("PneumoscopeErrors",),
        minutes=58,
    ),
    Case(
        "three films an hour, and one that gets 429",
        judged("0x20 1x15 2x15 3x10") | problems("overloaded", "0x50 1x9") | problems("unreadable-image", "0"),
    ),
    Case("every tenth request gets 429", problems("overloaded", "7"), ("PneumoscopeOverloaded",)),
    Case("the queue turns away every tenth film", problems("queue-full", "7"), ("PneumoscopeOverloaded",)),
    Case(
        "every tenth is turned away at the door",
        problems("too-many-connections", "7"),
        ("PneumoscopeOverloaded",),
    ),
    Case(
        "no film comes in, as all are turned away at the door",
        judged("0") | problems("too-many-connections", "60") | problems("unreadable-image", "0"),
        ("PneumoscopeOverloaded",),
    ),
    Case("one caller is over its allowance", answered(429, "60") | problems("rate-exceeded", "60")),
    Case(
        "films stop coming",
        judged(f"0+900x{WEEK // 15} {WEEK // 15 * 900}x20"),
        ("PneumoscopeNoFilms",),
        minutes=WEEK + 4 * HOUR,
        step=15,
    ),
    Case(
        "films stop coming two hours ago",
        judged(f"0+900x{WEEK // 15 + 8} {(WEEK // 15 + 8) * 900}x8"),
        minutes=WEEK + 4 * HOUR,
        step=15,
    ),
    Case(
        "a quiet night as a week ago",
        judged(f"0x16 0+900x{WEEK // 15 - 32} {(WEEK // 15 - 32) * 900}x32"),
        minutes=WEEK + 4 * HOUR,
        step=15,
    ),
    Case("a service that has had no film in its first days", judged("0"), minutes=2 * DAY, step=15),
    Case(
        "half of what is sent is no film",
        {f'pneumoscope_rejected_total{{{AT_ONE}, reason="unsupported-image"}}': "0+60"},
        ("PneumoscopeRefusals",),
    ),
    Case(
        "a quiet night with two bad uploads in an hour",
        judged("0")
        | problems("overloaded", "0")
        | {f'pneumoscope_rejected_total{{{AT_ONE}, reason="unreadable-image"}}': "0x40 1x10 2x10"},
    ),
    Case("the queue is full", {f"pneumoscope_queue_depth{{{AT_ONE}}}": "60"}, ("PneumoscopeSaturated",)),
    Case("uploads take all places", {f"pneumoscope_uploads{{{AT_ONE}}}": "60"}, ("PneumoscopeSaturated",)),
    Case(
        "the wait is at its limit",
        {f"pneumoscope_expected_wait_seconds{{{AT_ONE}}}": "0.24"},
        ("PneumoscopeSaturated",),
    ),
    Case(
        "the queue is full but for one minute in ten",
        {f"pneumoscope_queue_depth{{{AT_ONE}}}": " ".join(["64x8 5"] * 7)},
        ("PneumoscopeSaturated",),
    ),
    Case("the queue is full for two minutes", {f"pneumoscope_queue_depth{{{AT_ONE}}}": "5x57 64x2"}),
    Case(
        "the CPU instead of CUDA",
        {f"pneumoscope_provider_fell_back{{{AT_ONE}}}": "1"},
        ("PneumoscopeProviderFellBack",),
    ),
    Case(
        "two models",
        {f'pneumoscope_model_info{{{AT_TWO}, sha256="bb"}}': "1"},
        ("PneumoscopeModelsDiffer",),
    ),
    Case("two thresholds", {f"pneumoscope_threshold{{{AT_TWO}}}": "0.5"}, ("PneumoscopeModelsDiffer",)),
    Case(
        "a second instance like the first",
        {f'pneumoscope_model_info{{{AT_TWO}, sha256="aa"}}': "1", f"pneumoscope_threshold{{{AT_TWO}}}": "0.72"},
    ),
    Case(
        "a rolling restart with another model",
        {f'pneumoscope_model_info{{{AT_ONE}, sha256="aa"}}': "1x40 stale",
         f'pneumoscope_model_info{{{AT_TWO}, sha256="bb"}}': "_x30 1x30"},
    ),
    Case("900 handles", {f"process_open_fds{{{AT_ONE}}}": "900"}, ("PneumoscopeFileHandles",)),
    Case("700 handles", {f"process_open_fds{{{AT_ONE}}}": "700"}),
    Case(
        "memory doubles in a day",
        {f"process_resident_memory_bytes{{{AT_ONE}}}": "400000000+4000000"},
        ("PneumoscopeMemoryGrows",),
        minutes=DAY + 3 * HOUR,
        step=15,
    ),
    Case(
        "memory doubles with a restart",
        {f"process_resident_memory_bytes{{{AT_ONE}}}": "400000000x50 800000000x58",
         f"process_start_time_seconds{{{AT_ONE}}}": "0x50 45000x58"},
        minutes=DAY + 3 * HOUR,
        step=15,
    ),
    Case(
        "memory grows by a tenth in a day",
        {f"process_resident_memory_bytes{{{AT_ONE}}}": "400000000+400000"},
        minutes=DAY + 3 * HOUR,
        step=15,
    ),
]  # fmt: skip


def films(signal: str, edge: str, below: float, of: float, *, at: str = AT_ONE) -> dict[str, str]:
    """Of `of` films in five minutes, `below` lie at or below the edge."""
    name = f"pneumoscope_{signal}_bucket"
    return {
        f'{name}{{{at}, le="{edge}"}}': f"0+{below}",
        f'{name}{{{at}, le="+Inf"}}': f"0+{of}",
    }


def reviews(asked: float, of: float) -> dict[str, str]:
    """Of `of` films in five minutes, `asked` are marked for review."""
    name = f'pneumoscope_predictions_total{{{AT_ONE}, label="NORMAL", review='
    return {f'{name}"true"}}': f"0+{asked}", f'{name}"false"}}': f"0+{of - asked}"}


def reference(at: str = AT_ONE, *, count: int = 1000, share: float = 0.5) -> dict[str, str]:
    """Half of the reference's films lie below each edge, and a tenth asks for review."""
    edges = {"probability": "0.5", "novelty": "1.0", "brightness": "120.0"}
    return {
        f"pneumoscope_reference_films{{{at}}}": f"{count}",
        f"pneumoscope_reference_review_share{{{at}}}": "0.1",
        **{
            f'pneumoscope_reference_share{{{at}, signal="{signal}", le="{edge}"}}': f"{share}"
            for signal, edge in edges.items()
        },
    }


# In an hour and a half 1,800 films, of which chance moves a thousandth by .077.
LIKE_THE_REFERENCE = (
    {f'pneumoscope_model_info{{{AT_ONE}, sha256="aa"}}': "1"}
    | films("probability", "0.5", 50, 100)
    | films("novelty", "1.0", 50, 100)
    | films("brightness", "120.0", 50, 100)
    | reviews(10, 100)
    | reference()
)


def drift(name: str, changed: dict[str, str], *firing: str) -> Case:
    """Ninety minutes of films, five at a time."""
    return Case(name, changed, firing, minutes=90, step=5, base=LIKE_THE_REFERENCE, rules="drift.yml")


DRIFT = [
    drift("films like the reference's", {}),
    drift("fewer low probabilities", films("probability", "0.5", 30, 100), "PneumoscopeProbabilityDrift"),
    drift("more low probabilities", films("probability", "0.5", 70, 100), "PneumoscopeProbabilityDrift"),
    drift("stranger films", films("novelty", "1.0", 30, 100), "PneumoscopeNoveltyDrift"),
    drift("darker films", films("brightness", "120.0", 70, 100), "PneumoscopeBrightnessDrift"),
    drift("more films for review", reviews(30, 100), "PneumoscopeReviewDrift"),
    drift("a few more films for review", reviews(15, 100)),
    drift("a difference that is no chance but does not matter", films("probability", "0.5", 38, 100)),
    # Eighteen films, where chance moves a thousandth by .46.
    drift("a large difference that may be chance", films("probability", "0.5", 0.2, 1)),
    drift("few films, all alike", films("probability", "0.5", 0, 2), "PneumoscopeProbabilityDrift"),
    drift("few films, all for review", reviews(1, 1)),
    drift("a reference of few films", films("probability", "0.5", 30, 100) | reference(count=30)),
    drift(
        "a model without a reference",
        films("probability", "0.5", 0, 100) | dict.fromkeys(reference(), ""),
    ),
    drift("no film at all", films("probability", "0.5", 0, 0) | reviews(0, 0)),
    drift("films counted at other edges", dict.fromkeys(films("probability", "0.5", 0, 0), "")
          | films("probability", "0.3", 0, 100)),
    drift(
        "half of the instances see other films",
        films("probability", "0.5", 0, 100, at=AT_TWO)
        | reference(AT_TWO)
        | {f'pneumoscope_model_info{{{AT_TWO}, sha256="aa"}}': "1"},
        "PneumoscopeProbabilityDrift",
    ),
    drift(
        "another model whose films are like its own reference's",
        films("probability", "0.5", 90, 100, at=AT_TWO)
        | reference(AT_TWO, share=0.9)
        | {f'pneumoscope_model_info{{{AT_TWO}, sha256="bb"}}': "1"},
    ),
    drift(
        "a model that took another's place in the same instance",
        {
            f'pneumoscope_model_info{{{AT_ONE}, sha256="aa"}}': "1x8 stale",
            f'pneumoscope_model_info{{{AT_ONE}, sha256="bb"}}': "_x9 1x9",
            # The first model's films are all above the edge, and so is its reference.
            f'pneumoscope_probability_bucket{{{AT_ONE}, le="0.5"}}': "0x8 0+50x9",
            f'pneumoscope_probability_bucket{{{AT_ONE}, le="+Inf"}}': "0+100x8 0+100x9",
            f'pneumoscope_reference_share{{{AT_ONE}, signal="probability", le="0.5"}}': "0x8 0.5x9",
        },
    ),
]  # fmt: skip


def promtool(case: Case, folder: Path, by: str = "alertname") -> subprocess.CompletedProcess[str]:
    """Run the case; promtool compares the alerts that fire at its end, by these labels, with those that must."""
    samples = case.minutes // case.step
    expected = [name if "=" in name else f'alertname="{name}"' for name in case.firing]
    test = {
        "rule_files": [str(RULES / case.rules)],
        "evaluation_interval": f"{case.step}m",
        "tests": [
            {
                "interval": f"{case.step}m",
                "input_series": [
                    {"series": name, "values": values if " " in values else f"{values}x{samples}"}
                    for name, values in (case.base | case.changed).items()
                    if values
                ],
                "promql_expr_test": [
                    {
                        "expr": f'count by ({by}) (ALERTS{{alertstate="firing"}}) ^ 0',
                        "eval_time": f"{case.minutes}m",
                        "exp_samples": [{"labels": f"{{{labels}}}", "value": 1} for labels in expected],
                    }
                ],
            }
        ],
    }
    path = folder / "case.yml"
    path.write_text(yaml.safe_dump(test))
    return subprocess.run(
        [find_tool("promtool"), "test", "rules", path], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("case", [*SERVICE, *DRIFT], ids=lambda case: case.name)
def test_alerts_fire_when_they_should_and_only_then(case: Case, tmp_path: Path) -> None:
    told = promtool(case, tmp_path)
    assert told.returncode == 0, told.stdout + told.stderr


def test_a_day_forgets_dark_films_that_the_week_remembers(tmp_path: Path) -> None:
    dark_then_few = "0+100x12 1200+0.5x300"
    case = Case(
        "dark films in the first hour, few films after",
        {
            f'pneumoscope_brightness_bucket{{{AT_ONE}, le="120.0"}}': dark_then_few,
            f'pneumoscope_brightness_bucket{{{AT_ONE}, le="+Inf"}}': "0+100x12 1200+1x300",
        },
        ('alertname="PneumoscopeBrightnessDrift", window="7d"',),
        minutes=DAY + 2 * HOUR,
        step=5,
        base=LIKE_THE_REFERENCE,
        rules="drift.yml",
    )
    told = promtool(case, tmp_path, by="alertname, window")
    assert told.returncode == 0, told.stdout + told.stderr


def rules() -> Iterator[dict[str, Any]]:
    """Every rule that ships."""
    for path in sorted(RULES.glob("*.yml")):
        for group in load_yaml(path)["groups"]:
            yield from group["rules"]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def test_every_alert_fires_in_a_case() -> None:
    assert {name for case in (*SERVICE, *DRIFT) for name in case.firing} == ALERTS.keys()


def test_the_rules_are_valid() -> None:
    told = subprocess.run(
        [find_tool("promtool"), "check", "rules", "--lint-fatal", *sorted(RULES.glob("*.yml"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_tells_how_bad_what_it_is_and_where_to_read_on(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    annotations = alert["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook"}
    page, _, heading = annotations["runbook"].partition("#")
    assert heading == name.lower()
    assert f"### {name}\n" in (ROOT / page).read_text()


def test_every_alert_on_the_page_is_there() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    assert set(re.findall(r"^### (Pneumoscope\w+)$", page, re.MULTILINE)) == ALERTS.keys()


def test_every_problem_that_a_rule_counts_is_one() -> None:
    text = " ".join(str(rule["expr"]) for rule in rules())
    named = {code for codes in re.findall(r'reason=~"([^"]+)"', text) for code in codes.split("|")}
    assert named
    assert named <= ALL_KINDS.keys()


def test_what_chance_does_is_what_the_field_says() -> None:
    """The Kolmogorov distribution's upper tail at 1.95, and the normal's beyond 3.29 standard errors."""
    tail = 2 * sum((-1) ** (k - 1) * math.exp(-2 * k**2 * 1.95**2) for k in range(1, 20))
    assert tail == pytest.approx(0.001, rel=0.05)
    assert math.erfc(3.29 / math.sqrt(2)) == pytest.approx(0.001, rel=0.05)
