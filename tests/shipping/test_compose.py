"""The Compose files: valid, and in agreement with the image, the settings and Prometheus."""

import json
import os
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

import jsonschema
import pytest

from app.main import LAST_BATCH_SECONDS, LAST_SPANS_SECONDS
from app.reporting.orthanc import TIMEOUT_SECONDS
from app.settings import PREFIX, Settings
from tests.shipping.repository import (
    COMPOSE,
    COMPOSE_GPU,
    GRAFANA,
    ORTHANC,
    PROMETHEUS,
    ROOT,
    RULES,
    image_environment,
    load_yaml,
    only,
)

STACKS = {"cpu": [COMPOSE], "gpu": [COMPOSE, COMPOSE_GPU]}


def merged(base: Any, overlay: Any) -> Any:
    """Compose's merge as far as these files need it: mappings key by key, lists appended, else the overlay's."""
    if isinstance(base, dict) and isinstance(overlay, dict):
        return base | {key: merged(base.get(key), value) for key, value in overlay.items()}
    if isinstance(base, list) and isinstance(overlay, list):
        return base + overlay
    return overlay


def stack(name: str) -> dict[str, Any]:
    """The services of `docker compose` with that stack's files."""
    content: dict[str, Any] = {}
    for path in STACKS[name]:
        content = merged(content, load_yaml(path))
    services: dict[str, Any] = content["services"]
    return services


def seconds(duration: str) -> int:
    """Of a Compose duration in whole seconds."""
    match = re.fullmatch(r"(\d+)s", duration)
    assert match
    return int(match[1])


@pytest.fixture(params=sorted(STACKS))
def hardware(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def service(hardware: str) -> dict[str, Any]:
    found: dict[str, Any] = stack(hardware)["pneumoscope"]
    return found


@pytest.mark.parametrize("path", [COMPOSE, COMPOSE_GPU], ids=lambda path: path.name)
def test_a_file_follows_the_compose_specification(path: Path) -> None:
    schema = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(load_yaml(path), json.loads(schema.read_text()))


def compose_command() -> list[str]:
    """Docker Compose as it is installed here; ends the test where it is not."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            told = subprocess.run([*command, "version"], capture_output=True, check=False)
            if told.returncode == 0:
                return command
    pytest.skip("Docker Compose is not installed")


def test_compose_itself_takes_the_files(hardware: str) -> None:
    files = [word for path in STACKS[hardware] for word in ("--file", str(path))]
    told = subprocess.run(
        [*compose_command(), *files, "config", "--quiet"], capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stderr) == (0, "")


def test_the_image_is_built_for_the_hardware(hardware: str, service: dict[str, Any]) -> None:
    assert service["image"] == f"pneumoscope:{hardware}"
    assert service["build"] == {"context": ".", "args": {"HARDWARE": hardware}}


def test_the_health_check_is_the_images(service: dict[str, Any]) -> None:
    options, _, command = only("HEALTHCHECK").arguments.partition("CMD ")
    assert service["healthcheck"]["test"] == ["CMD", *json.loads(command)]
    for option, value in re.findall(r"--([a-z-]+)=(\S+)", options):
        if option != "start-period":
            assert str(service["healthcheck"][option]) == value


def test_the_service_runs_what_the_image_says(service: dict[str, Any]) -> None:
    assert not service.keys() & {"command", "entrypoint", "user", "working_dir"}


def test_its_environment_is_made_of_settings_and_agrees_with_the_image(service: dict[str, Any]) -> None:
    variables = {name: value for name, value in service["environment"].items() if name.startswith(PREFIX)}
    settings = {name.removeprefix(PREFIX).lower(): value for name, value in variables.items()}
    assert set(settings) <= set(Settings.model_fields)
    Settings(**settings)
    image = image_environment()
    assert all(image.get(name, value) == value for name, value in variables.items())


def test_the_gpu_is_demanded_and_given(hardware: str, service: dict[str, Any]) -> None:
    device = service["environment"].get("PNEUMOSCOPE_DEVICE")
    devices = service["deploy"]["resources"].get("reservations", {}).get("devices")
    if hardware == "gpu":
        assert device == "cuda"
        assert devices == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    else:
        assert (device, devices) == (None, None)


def test_it_has_time_to_drain(service: dict[str, Any]) -> None:
    drain = Settings.model_fields["drain_s"].default
    # Accepted films first, then the batch that the device is at, the last traces, and the process itself.
    assert seconds(service["stop_grace_period"]) > drain + LAST_BATCH_SECONDS + LAST_SPANS_SECONDS + 5


@pytest.mark.parametrize("name", ["pneumoscope", "prometheus", "grafana", "jaeger", "orthanc", "bridge"])
def test_a_container_has_no_privilege_and_cannot_change_itself(hardware: str, name: str) -> None:
    container = stack(hardware)[name]
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert not container.keys() & {"privileged", "cap_add", "network_mode", "pid"}
    assert container["deploy"]["resources"]["limits"].keys() == {"memory", "pids"}
    assert container["restart"] == "unless-stopped"


@pytest.mark.parametrize(
    ("name", "port"),
    [
        ("pneumoscope", 8000),
        ("prometheus", 9090),
        ("grafana", 3000),
        ("jaeger", 16686),
        ("orthanc", 8042),
        ("orthanc", 4242),
    ],
)
def test_a_port_is_published_to_this_machine_alone_unless_told_otherwise(name: str, port: int) -> None:
    published = [line for line in stack("cpu")[name]["ports"] if line.endswith(f":{port}")]
    assert len(published) == 1
    assert re.fullmatch(rf"\$\{{[A-Z_]+:-127\.0\.0\.1:{port}\}}:{port}", published[0])


def test_no_other_port_is_published() -> None:
    assert {name: len(container.get("ports", ())) for name, container in stack("cpu").items()} == {
        "pneumoscope": 1,
        "prometheus": 1,
        "grafana": 1,
        "jaeger": 1,
        "orthanc": 2,
        "bridge": 0,
    }


def test_the_published_port_is_the_one_that_the_service_listens_on(service: dict[str, Any]) -> None:
    (published,) = service["ports"]
    port = published.rpartition(":")[2]
    assert port == service["environment"]["PNEUMOSCOPE_PORT"] == only("EXPOSE").arguments


def test_prometheus_waits_for_the_service_and_scrapes_it() -> None:
    services = stack("cpu")
    assert services["prometheus"]["depends_on"] == {"pneumoscope": {"condition": "service_healthy"}}
    (job,) = load_yaml(PROMETHEUS)["scrape_configs"]
    (target,) = job["static_configs"]
    assert target["targets"] == [f"pneumoscope:{services['pneumoscope']['environment']['PNEUMOSCOPE_PORT']}"]
    assert job.get("metrics_path", "/metrics") == "/metrics"


def test_prometheus_reads_the_file_that_is_mounted_and_keeps_its_data_in_a_volume() -> None:
    prometheus = stack("cpu")["prometheus"]
    options = dict(option.removeprefix("--").split("=") for option in prometheus["command"])
    *mounted, data = prometheus["volumes"]
    places = {}
    for mount in mounted:
        source, target, mode = mount.split(":")
        assert mode == "ro"
        places[(ROOT / source).resolve()] = PurePosixPath(target)
    assert places[PROMETHEUS] == PurePosixPath(options["config.file"])
    (rules,) = load_yaml(PROMETHEUS)["rule_files"]
    assert places[RULES] == places[PROMETHEUS].parent / PurePosixPath(rules).parent
    assert data == f"prometheus:{options['storage.tsdb.path']}"
    assert "prometheus" in load_yaml(COMPOSE)["volumes"]


def test_grafana_finds_its_dashboard_and_prometheus() -> None:
    services = stack("cpu")
    grafana = services["grafana"]
    provisioning, dashboards, data = (mount.split(":") for mount in grafana["volumes"])
    assert (ROOT / provisioning[0]).resolve() == GRAFANA / "provisioning"
    assert (ROOT / dashboards[0]).resolve() == GRAFANA / "dashboards"
    assert provisioning[1:] == ["/etc/grafana/provisioning", "ro"]
    (provider,) = load_yaml(GRAFANA / "provisioning" / "dashboards" / "pneumoscope.yml")["providers"]
    assert dashboards[1:] == [provider["options"]["path"], "ro"]
    home = PurePosixPath(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.parent == PurePosixPath(dashboards[1])
    assert (GRAFANA / "dashboards" / home.name).is_file()
    (source,) = load_yaml(GRAFANA / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    published = services["prometheus"]["ports"][0]
    assert source["url"] == f"http://prometheus:{published.rpartition(':')[2]}"
    assert source["jsonData"]["timeInterval"] == load_yaml(PROMETHEUS)["global"]["scrape_interval"]
    assert data[0] in load_yaml(COMPOSE)["volumes"]


def test_grafana_lets_people_look_and_nobody_in() -> None:
    environment = stack("cpu")["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


def test_other_images_are_pinned_to_a_version() -> None:
    assert re.fullmatch(r"prom/prometheus:v\d+\.\d+\.\d+", stack("cpu")["prometheus"]["image"])
    assert re.fullmatch(r"grafana/grafana:\d+\.\d+\.\d+", stack("cpu")["grafana"]["image"])
    assert re.fullmatch(r"jaegertracing/jaeger:\d+\.\d+\.\d+", stack("cpu")["jaeger"]["image"])
    assert re.fullmatch(r"jodogne/orthanc-plugins:\d+\.\d+\.\d+", stack("cpu")["orthanc"]["image"])


def test_grafana_jaeger_orthanc_and_its_bridge_start_only_when_asked_for(hardware: str) -> None:
    profiles = {name: container.get("profiles") for name, container in stack(hardware).items()}
    assert profiles == {
        "pneumoscope": None, "prometheus": None, "grafana": ["grafana"], "jaeger": ["tracing"],
        "orthanc": ["orthanc"], "bridge": ["orthanc"],
    }  # fmt: skip


def test_the_bridge_is_the_services_image_with_another_command(
    hardware: str, service: dict[str, Any]
) -> None:
    bridge = stack(hardware)["bridge"]
    assert bridge["image"] == service["image"]
    assert bridge["command"] == [*json.loads(only("CMD").arguments), "orthanc"]
    assert bridge["depends_on"] == service_healthy()
    assert seconds(bridge["stop_grace_period"]) > TIMEOUT_SECONDS


def service_healthy() -> dict[str, Any]:
    return {"pneumoscope": {"condition": "service_healthy"}}


def test_the_bridge_finds_orthanc_and_the_service(service: dict[str, Any]) -> None:
    services = stack("cpu")
    environment = services["bridge"]["environment"]
    variables = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    chosen = Settings(**{name.removeprefix(PREFIX).lower(): value for name, value in variables.items()})
    orthanc = json.loads(ORTHANC.read_text())
    assert chosen.orthanc_url == f"http://orthanc:{orthanc['HttpPort']}"
    assert chosen.orthanc_service_url == f"http://pneumoscope:{service['environment']['PNEUMOSCOPE_PORT']}"
    assert orthanc["RegisteredUsers"] == {chosen.orthanc_user: "${ORTHANC_PASSWORD}"}
    assert services["orthanc"]["environment"]["ORTHANC_PASSWORD"] == "${ORTHANC_PASSWORD:-}"
    assert environment["PNEUMOSCOPE_ORTHANC_PASSWORD"] == "${ORTHANC_PASSWORD:-}"


def test_the_bridges_notes_are_in_a_volume_that_its_user_may_write_to() -> None:
    bridge = stack("cpu")["bridge"]
    (volume,) = bridge["volumes"]
    name, folder = volume.split(":")
    assert name in load_yaml(COMPOSE)["volumes"]
    assert PurePosixPath(bridge["environment"]["PNEUMOSCOPE_ORTHANC_STATE"]).parent == PurePosixPath(folder)
    made = only("RUN").arguments
    assert folder in made
    assert f"chown {only('USER').arguments} {folder}" in made


def test_orthanc_asks_for_a_password_and_keeps_its_films_in_a_volume() -> None:
    orthanc, configuration = stack("cpu")["orthanc"], json.loads(ORTHANC.read_text())
    assert configuration["AuthenticationEnabled"] is True
    assert configuration["OverwriteInstances"] is False
    config, data = orthanc["volumes"]
    source, target, mode = config.split(":")
    assert (ROOT / source).resolve() == ORTHANC
    assert mode == "ro"
    assert f"exec Orthanc {target}" in orthanc["entrypoint"][-1]
    assert data == f"orthanc:{configuration['StorageDirectory']}"
    assert configuration["IndexDirectory"] == configuration["StorageDirectory"]
    assert "orthanc" in load_yaml(COMPOSE)["volumes"]
    ports = {line.rpartition(":")[2] for line in orthanc["ports"]}
    assert ports == {str(configuration["HttpPort"]), str(configuration["DicomPort"])}


@pytest.mark.parametrize(("password", "started"), [("", False), ("secret", True)])
def test_orthanc_does_not_start_without_a_password(tmp_path: Path, password: str, *, started: bool) -> None:
    (tmp_path / "Orthanc").write_text("#!/bin/sh\necho started $1\n")
    (tmp_path / "Orthanc").chmod(0o755)
    command = [word.replace("$$", "$") for word in stack("cpu")["orthanc"]["entrypoint"]]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ORTHANC_PASSWORD": password}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    said = "started /etc/orthanc/orthanc.json" if started else "ORTHANC_PASSWORD is not set"
    assert (told.returncode == 0, told.stdout.strip()) == (started, said)
