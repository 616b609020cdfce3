"""The Grafana dashboard: a real Prometheus has an answer to each of its queries, as Grafana would ask them.

Grafana itself is not run; what it would refuse of the file is checked as far as the file tells.
"""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from app.telemetry.metrics import Metrics
from tests.app.live import wait_until
from tests.shipping.conftest import Watched
from tests.shipping.repository import GRAFANA, RULES, load_yaml

DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "pneumoscope.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
VARIABLES: dict[str, dict[str, Any]] = {
    variable["name"]: variable for variable in DASHBOARD["templating"]["list"]
}
RATE_INTERVAL = "40s"
"""What Grafana makes of $__rate_interval where a Prometheus scrapes every ten seconds: four scrapes."""

LABEL_VALUES = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")


def queries() -> Iterator[tuple[str, str]]:
    """Title of the panel and expression of each query."""
    for panel in PANELS:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def filled(expression: str, values: dict[str, str]) -> str:
    """With Grafana's variables filled in; none is left."""
    for name, value in values.items():
        expression = re.sub(rf"\${name}\b", value, expression)
    assert "$" not in expression
    return expression


@pytest.fixture(scope="module")
def values(watched: Watched) -> dict[str, str]:
    """The variables as Grafana fills them in when the dashboard is opened."""
    chosen = {"__rate_interval": RATE_INTERVAL}
    for name, variable in VARIABLES.items():
        if variable["type"] == "custom":
            chosen[name] = variable["current"]["value"]
        elif variable["type"] == "query":
            asked = LABEL_VALUES.fullmatch(filled(variable["query"]["query"], chosen))
            assert asked
            found = watched.prometheus.label_values(asked["label"], asked["selector"])
            assert found, name
            chosen[name] = variable["allValue"] if variable.get("includeAll") else found[0]
    return chosen


@pytest.mark.parametrize(
    ("title", "expression"),
    [pytest.param(*query, id=f"{query[0]} {place}") for place, query in enumerate(queries())],
)
def test_prometheus_answers_a_panels_query_with_numbers(
    watched: Watched, values: dict[str, str], title: str, expression: str
) -> None:
    query = filled(expression, values)

    def has_numbers() -> bool:
        found = [sample["value"][1] for sample in watched.prometheus.query(query)]
        if any(value != "NaN" for value in found):
            return True
        watched.use()
        return False

    wait_until(has_numbers, f"{title}: {query}")


def test_what_was_done_is_what_the_panels_show(watched: Watched, values: dict[str, str]) -> None:
    by_title = {title: filled(expression, values) for title, expression in queries()}
    (ready,) = watched.prometheus.query(by_title["Instances that take films"])
    assert ready["value"][1] == "1"
    reasons = {
        sample["metric"]["reason"] for sample in watched.prometheus.query(by_title["Problems answered"])
    }
    assert reasons == {"unsupported-image"}
    (refused,) = watched.prometheus.query(by_title["Films refused for what they are"])
    assert 0 < float(refused["value"][1]) < 1


def test_every_panel_asks_something_and_rows_part_them() -> None:
    kinds = {panel["type"] for panel in PANELS}
    assert kinds == {"row", "stat", "timeseries", "table", "trend"}
    assert [panel["title"] for panel in PANELS if panel["type"] != "row" and not panel["targets"]] == []


def test_ids_titles_and_letters_are_unique() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles)
    for panel in PANELS:
        letters = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(letters)) == len(letters), panel["title"]


def test_panels_lie_beside_each_other_in_the_grid_of_24() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for cell in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        ):
            assert taken.setdefault(cell, panel["title"]) == panel["title"]


def test_panels_and_variables_ask_the_prometheus_that_is_chosen() -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert VARIABLES["datasource"]["query"] == "prometheus"
    for panel in PANELS:
        if panel["type"] != "row":
            assert panel["datasource"] == chosen
            assert all(target["datasource"] == chosen for target in panel["targets"])
    assert all(
        variable["datasource"] == chosen for variable in VARIABLES.values() if variable["type"] == "query"
    )


def test_every_variable_is_used_and_every_one_that_is_used_is_there() -> None:
    asked = " ".join(expression for _, expression in queries())
    used = set(re.findall(r"\$(\w+)", asked)) - {"__rate_interval"}
    assert used == VARIABLES.keys() - {"datasource"}


def test_every_metric_that_is_named_is_told_by_the_service_or_recorded_by_a_rule() -> None:
    recorded = {
        rule["record"]
        for path in RULES.glob("*.yml")
        for group in load_yaml(path)["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    told = set()
    for metric in Metrics().registry.collect():
        told |= {metric.name + end for end in ("", "_total", "_info", "_bucket", "_sum", "_count")}
    asked = " ".join(expression for _, expression in queries())
    named = set(re.findall(r"[\w:]*(?:pneumoscope|process)_[\w:]+", asked))
    assert named
    assert named <= told | recorded


def test_who_sees_the_dashboard_cannot_change_it() -> None:
    (provider,) = load_yaml(GRAFANA / "provisioning" / "dashboards" / "pneumoscope.yml")["providers"]
    assert (DASHBOARD["editable"], provider["allowUiUpdates"]) == (False, False)
