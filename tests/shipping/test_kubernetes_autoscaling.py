"""The autoscaler's metric, all the way from the service through Prometheus and the metrics adapter."""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from app.main import MAX_WAIT_FILMS
from tests.app.live import Process
from tests.required_tools import find_tool
from tests.shipping.kubernetes import FOLDER, Rendered, installed, loaded
from tests.shipping.repository import ROOT, load_yaml

VALUES = load_yaml(FOLDER / "metrics-adapter" / "values.yaml")
(RULE,) = VALUES["rules"]["custom"]
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
SERIES = RULE["seriesQuery"].partition("{")[0]
BATCH_ON_CUDA = 32
"""`auto` of PNEUMOSCOPE_MAX_BATCH there."""


def targets(way: Rendered) -> dict[str, Any]:
    """The name of each metric that the autoscaler looks at, and its target."""
    found = {}
    for metric in way.one("HorizontalPodAutoscaler")["spec"]["metrics"]:
        kind = metric["type"].lower()
        source = metric[kind]
        found[source["metric"]["name"] if kind == "pods" else source["name"]] = source["target"]
    return found


def test_the_adapters_series_is_a_metric_of_the_service(service: Process) -> None:
    assert re.search(rf"^{SERIES} \d", service.client.get("/metrics").text, flags=re.MULTILINE)


def test_the_adapter_calls_it_what_the_autoscaler_asks_for(plain: Rendered) -> None:
    assert re.fullmatch(RULE["name"]["matches"], SERIES)
    assert RULE["name"]["as"] in targets(plain)


def test_the_cpu_is_looked_at_too_but_not_beside_a_gpu(plain: Rendered) -> None:
    queue = RULE["name"]["as"]
    assert set(targets(plain)) == {"cpu": {queue, "cpu"}, "gpu": {queue}}[plain.variant]


def test_it_scales_before_films_are_refused(plain: Rendered) -> None:
    settings = loaded(plain.settings)
    assert settings.max_wait_s == "auto"
    # A GPU is so quick with a film that not the wait for 15, but the least wait or the queue is the limit.
    most = {"cpu": MAX_WAIT_FILMS, "gpu": settings.max_queue}[plain.variant]
    assert 0 < int(targets(plain)[RULE["name"]["as"]]["averageValue"]) <= most / 2


def test_what_the_queue_shall_be_is_what_waits_at_nine_tenths_of_a_cpu_and_one_batch_of_a_gpu(
    plain: Rendered,
) -> None:
    load = 0.9
    waiting = {"cpu": round(load**2 / (2 * (1 - load))), "gpu": BATCH_ON_CUDA}[plain.variant]
    assert int(targets(plain)[RULE["name"]["as"]]["averageValue"]) == waiting


def test_the_processor_is_not_to_be_full(plain: Rendered) -> None:
    target = targets(plain).get("cpu", {"type": "Utilization", "averageUtilization": 50})
    assert target["type"] == "Utilization"
    assert 50 <= target["averageUtilization"] <= 90


def test_a_pod_monitor_scrapes_the_autoscalers_metric(tmp_path: Path, service: Process) -> None:
    monitor = installed(tmp_path, "cpu+prometheus-operator").one("PodMonitor")["spec"]
    (end,) = monitor["podMetricsEndpoints"]
    assert re.search(rf"^{SERIES} \d", service.client.get(end["path"]).text, flags=re.MULTILINE)


def test_it_is_quick_to_add_pods_and_slow_to_take_them(plain: Rendered) -> None:
    behavior = plain.one("HorizontalPodAutoscaler")["spec"]["behavior"]
    up, down = behavior["scaleUp"], behavior["scaleDown"]
    assert up["stabilizationWindowSeconds"] == 0 < down["stabilizationWindowSeconds"]
    assert max(rule["periodSeconds"] for rule in up["policies"]) < min(
        rule["periodSeconds"] for rule in down["policies"]
    )


def test_the_adapters_labels_are_those_that_its_series_must_have() -> None:
    labels = set(re.findall(r'(\w+)!=""', RULE["seriesQuery"]))
    assert labels == {"namespace", "pod"} == set(RULE["resources"]["overrides"])


def test_the_adapters_query_is_the_average_of_a_minute_for_each_pod(tmp_path: Path) -> None:
    """The adapter's template, filled in as its documentation says, in Prometheus's own engine."""
    query = RULE["metricsQuery"]
    for field, value in {
        "<<.Series>>": SERIES,
        "<<.LabelMatchers>>": 'namespace="pneumoscope",pod=~"a|b"',
        "<<.GroupBy>>": "pod",
    }.items():
        query = query.replace(field, value)
    waiting = {
        ("pneumoscope", "a"): "0 8 0 8 0",
        ("pneumoscope", "b"): "12 12 12 12 12",
        ("pneumoscope", "c"): "1 1 1 1 1",
        ("elsewhere", "a"): "1 1 1 1 1",
    }
    test = {
        "interval": "15s",
        "input_series": [
            {"series": f'{SERIES}{{namespace="{namespace}",pod="{pod}"}}', "values": values}
            for (namespace, pod), values in waiting.items()
        ],
        "promql_expr_test": [
            {
                "expr": query,
                "eval_time": "70s",
                "exp_samples": [
                    {"labels": '{pod="a"}', "value": 4},
                    {"labels": '{pod="b"}', "value": 12},
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}))
    told = subprocess.run(
        [find_tool("promtool"), "test", "rules", "test.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_a_prometheus_without_the_operator_scrapes_the_pods_with_the_adapters_labels(
    plain: Rendered, tmp_path: Path
) -> None:
    (text,) = re.findall(r"```yaml\n(scrape_configs:.*?)```", PAGE, flags=re.DOTALL)
    configuration = yaml.safe_load(text)
    (job,) = configuration["scrape_configs"]
    # Debian's Prometheus is built without this, so its own check of it cannot be had.
    (discovery,) = job.pop("kubernetes_sd_configs")
    assert discovery == {
        "role": "pod",
        "namespaces": {"names": [plain.one("Namespace")["metadata"]["name"]]},
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    told = subprocess.run(
        [find_tool("promtool"), "check", "config", tmp_path / "prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    kept = [rule["regex"] for rule in job["relabel_configs"] if rule.get("action") == "keep"]
    assert kept == [port["name"] for port in plain.container["ports"]]
    made = {rule["target_label"] for rule in job["relabel_configs"] if "target_label" in rule}
    assert made == set(RULE["resources"]["overrides"])
