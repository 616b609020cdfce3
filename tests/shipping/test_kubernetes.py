"""deploy/kubernetes: valid for the API, and in agreement with the service, the image and itself."""

import copy
import json
import re
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import all_versions

from app.imaging.overlay import MAX_PAINTED_PIXELS
from app.settings import PREFIX, Settings
from tests.shipping.kubernetes import (
    Rendered,
    installed,
    loaded,
    mebibytes,
    selects,
)
from tests.shipping.repository import COMPOSE, COMPOSE_GPU, ROOT, load_yaml, only

OLDEST = "1.30.0"
"""docs/kubernetes.md promises it: the first that pauses before SIGTERM without a program in the image."""
OLDEST_WITH_IMAGE_VOLUMES = "1.35.0"
CUSTOM = {"PodMonitor"}
"""Kinds of the Prometheus Operator. No schema of theirs is at hand: they are checked by hand below, no further."""
RESIDENT_MIB = 308e6 / 2**20
"""The most that was resident under any load: docs/performance.md."""
DECODED_BYTES, PAINTED_BYTES = 10, 19
"""The most that a thread held more, a pixel of a film it decoded or painted: docs/kubernetes.md."""
GPU = "nvidia.com/gpu"
NOBODYS = "registry.invalid"
"""A name that never resolves (RFC 2606): no stranger's image comes in place of the user's own."""
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()


# The API


def test_every_object_is_valid_by_the_schemas_of_the_api(rendered: Rendered) -> None:
    oldest = OLDEST_WITH_IMAGE_VOLUMES if "model-image" in rendered.variant else OLDEST
    for version in {oldest, *all_versions()[-3:]}:
        for item in rendered.objects:
            if item["kind"] not in CUSTOM:
                validate(json.dumps(item), version)


@cache
def validate(item: str, version: str) -> None:
    """Check an object once, however many variants have it."""
    kubernetes_validate.validate(json.loads(item), version, strict=True)


def test_the_schemas_would_catch_a_misspelt_field(plain: Rendered) -> None:
    deployment = copy.deepcopy(plain.one("Deployment"))
    deployment["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, OLDEST, strict=True)


def test_everything_is_in_one_namespace(rendered: Rendered) -> None:
    (namespace,) = rendered.all("Namespace")
    name = namespace["metadata"]["name"]
    others = [item for item in rendered.objects if item["kind"] != "Namespace"]
    assert {item["metadata"]["namespace"] for item in others} == {name}


# Objects find one another


def test_every_selector_takes_in_the_pods(rendered: Rendered) -> None:
    labels = rendered.pod_labels
    selectors = [
        rendered.deployment["selector"],
        {"matchLabels": rendered.one("Service")["spec"]["selector"]},
        rendered.one("PodDisruptionBudget")["spec"]["selector"],
        *(policy["spec"]["podSelector"] for policy in rendered.all("NetworkPolicy")),
        *(spread["labelSelector"] for spread in rendered.pod["topologySpreadConstraints"]),
        *(monitor["spec"]["selector"] for monitor in rendered.all("PodMonitor")),
    ]
    assert [selector for selector in selectors if not selects(selector, labels)] == []


def test_every_port_is_the_one_that_the_service_listens_on(rendered: Rendered) -> None:
    (port,) = rendered.container["ports"]
    assert port["containerPort"] == loaded(rendered.settings).port == int(only("EXPOSE").arguments)
    (service_port,) = rendered.one("Service")["spec"]["ports"]
    (rule,) = rendered.one("NetworkPolicy")["spec"]["ingress"]
    probes = [
        probe["httpGet"]["port"] for name, probe in rendered.container.items() if name.endswith("Probe")
    ]
    assert len(probes) == 3
    monitored = [
        end["port"] for item in rendered.all("PodMonitor") for end in item["spec"]["podMetricsEndpoints"]
    ]
    named = [
        service_port["targetPort"],
        *(open_port["port"] for open_port in rule["ports"]),
        *probes,
        *monitored,
    ]
    assert set(named) == {port["name"]}


def test_the_autoscaler_alone_says_how_many_pods_there_are(rendered: Rendered) -> None:
    autoscaler = rendered.one("HorizontalPodAutoscaler")["spec"]
    target = autoscaler["scaleTargetRef"]
    deployment = rendered.one("Deployment")
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert "replicas" not in deployment["spec"]
    # A budget of one pod, and a rolling restart on GPUs, leave one that answers.
    assert 2 <= autoscaler["minReplicas"] < autoscaler["maxReplicas"]
    assert rendered.one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_every_mount_is_a_volume_and_the_other_way_round(rendered: Rendered) -> None:
    mounts = [mount["name"] for mount in rendered.container["volumeMounts"]]
    assert sorted(mounts) == sorted(volume["name"] for volume in rendered.pod["volumes"])


# The service


def test_the_settings_are_settings_and_load(rendered: Rendered) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(rendered.settings) <= known
    assert loaded(rendered.settings)
    assert rendered.container["envFrom"] == [
        {"configMapRef": {"name": rendered.one("ConfigMap", "pneumoscope-settings")["metadata"]["name"]}}
    ]


def test_the_device_is_demanded(plain: Rendered) -> None:
    assert loaded(plain.settings).device == {"cpu": "cpu", "gpu": "cuda"}[plain.variant]


def test_the_image_is_the_one_that_compose_builds_from_nobodys_registry(plain: Rendered) -> None:
    path = {"cpu": COMPOSE, "gpu": COMPOSE_GPU}[plain.variant]
    built = load_yaml(path)["services"]["pneumoscope"]["image"]
    assert plain.container["image"] == f"{NOBODYS}/{built}"
    assert "command" not in plain.container


def test_no_image_comes_from_a_registry_that_could_be_a_strangers(rendered: Rendered) -> None:
    named = [rendered.container["image"]]
    named += [volume["image"]["reference"] for volume in rendered.pod["volumes"] if "image" in volume]
    assert [image for image in named if not image.startswith(f"{NOBODYS}/")] == []


def test_the_memory_holds_every_upload_and_every_film_that_the_settings_allow(rendered: Rendered) -> None:
    settings = loaded(rendered.settings)
    resources = rendered.container["resources"]
    assert (settings.decode_workers, settings.lanes) == ("auto", "auto")
    workers = int(resources["limits"]["cpu"])
    decoding = settings.max_pixels * DECODED_BYTES
    painting = MAX_PAINTED_PIXELS * PAINTED_BYTES
    (scratch,) = (volume["emptyDir"] for volume in rendered.pod["volumes"] if "emptyDir" in volume)
    most = RESIDENT_MIB + workers * max(decoding, painting) / 2**20
    most += settings.max_queue * settings.max_upload_mb + mebibytes(scratch["sizeLimit"])
    assert mebibytes(resources["limits"]["memory"]) >= most
    assert mebibytes(resources["requests"]["memory"]) >= RESIDENT_MIB + workers * painting / 2**20


def test_the_cores_are_whole_and_limited_since_the_service_counts_them(plain: Rendered) -> None:
    resources = plain.container["resources"]
    assert int(resources["limits"]["cpu"]) == int(resources["requests"]["cpu"])


def test_a_pod_on_a_gpu_has_one_and_goes_where_they_are(plain: Rendered) -> None:
    resources = plain.container["resources"]
    placed = (
        resources["limits"].get(GPU), resources["requests"].get(GPU), plain.pod.get("nodeSelector"),
        plain.pod.get("tolerations"),
    )  # fmt: skip
    # The names are those of NVIDIA's device plugin and of its GPU feature discovery.
    taint = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}
    assert (
        placed
        == {
            "cpu": (None, None, None, None),
            "gpu": ("1", "1", {f"{GPU}.present": "true"}, [taint]),
        }[plain.variant]
    )
    assert f"`{GPU}.present=true`" in PAGE


def test_a_rolling_restart_waits_for_what_is_scarce(plain: Rendered) -> None:
    rolling = {"cpu": {"maxSurge": 1, "maxUnavailable": 0}, "gpu": {"maxSurge": 0, "maxUnavailable": 1}}
    assert plain.deployment["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling[plain.variant]}


# Rolling restarts


def test_a_changed_setting_is_a_rolling_restart(tmp_path: Path) -> None:
    changed = {"name": "pneumoscope-settings", "behavior": "merge", "literals": ["PNEUMOSCOPE_DRAIN_S=10"]}
    before = installed(tmp_path / "before", "cpu")
    after = installed(tmp_path / "after", "cpu", configMapGenerator=[changed])
    assert before.deployment["template"] != after.deployment["template"]


@pytest.mark.parametrize("component", ["model-claim", "model-image"])
def test_a_model_of_its_own_is_mounted_where_the_service_looks(tmp_path: Path, component: str) -> None:
    way = installed(tmp_path, f"cpu+{component}")
    (mount,) = (item for item in way.container["volumeMounts"] if item["name"] == "model")
    assert Path(mount["mountPath"]) == loaded(way.settings).model_dir
    assert mount["readOnly"] is True


@pytest.mark.parametrize("component", ["model-claim", "model-image"])
def test_a_new_model_version_is_a_rolling_restart_and_pinned(tmp_path: Path, component: str) -> None:
    (text,) = re.findall(r"```yaml\n(configMapGenerator:.*?)```", PAGE, flags=re.DOTALL)
    content = yaml.safe_load(text)
    part = {"model-claim": "containers", "model-image": "volumes"}[component]
    patch = yaml.safe_load(content["patches"][0]["patch"])
    pod = patch["spec"]["template"]["spec"]
    del pod[({"containers", "volumes"} - {part}).pop()]
    versions = []
    for version in ("2", "3"):
        changed = yaml.safe_dump(patch).replace("/2", f"/{version}").replace(":2", f":{version}")
        pinned = json.loads(json.dumps(content["configMapGenerator"]).replace("0123", f"{version}123"))
        versions.append(
            installed(
                tmp_path / version,
                f"cpu+{component}",
                patches=[{"patch": changed}],
                configMapGenerator=pinned,
            )
        )
    before, after = versions
    assert before.deployment["template"] != after.deployment["template"]
    assert chosen_model(before) != chosen_model(after)
    assert loaded(before.settings).model_sha256 != loaded(after.settings).model_sha256


def chosen_model(way: Rendered) -> tuple[object, object]:
    """What is mounted, and which part of it."""
    (volume,) = (item for item in way.pod["volumes"] if item["name"] == "model")
    (mount,) = (item for item in way.container["volumeMounts"] if item["name"] == "model")
    return str(volume), mount.get("subPath")


def test_a_new_image_is_a_rolling_restart(tmp_path: Path) -> None:
    named = {
        "name": f"{NOBODYS}/pneumoscope",
        "newName": "registry.example.org/pneumoscope",
        "newTag": "cpu-2",
    }
    after = installed(tmp_path, "cpu", images=[named])
    assert after.container["image"] == "registry.example.org/pneumoscope:cpu-2"
