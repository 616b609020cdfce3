"""What the manifests allow: of the pod, and over the network."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.main import create_app
from app.settings import Settings
from tests.shipping.kubernetes import (
    VARIANTS,
    Object,
    Rendered,
    installed,
    loaded,
    mebibytes,
    selects,
)
from tests.shipping.repository import ROOT, only

VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected",
    "secret",
}  # fmt: skip
"""Of the restricted profile; `image` since Kubernetes 1.33 (kubernetes/kubernetes#130394)."""


def every_container(pod: Object) -> list[Object]:
    return [
        container
        for kind in ("initContainers", "containers", "ephemeralContainers")
        for container in pod.get(kind, [])
    ]


def security(item: Object) -> Object:
    found: Object = item.get("securityContext", {})
    return found


def of_the_pod_or_container(pod: Object, container: Object, name: str) -> Any:
    return security(container).get(name, security(pod).get(name))


# The Pod Security Standard "restricted" with what it takes over from "baseline", a line a control.
# https://kubernetes.io/docs/concepts/security/pod-security-standards/
RESTRICTED = {
    "host namespaces": lambda pod: not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")),
    "privileged": lambda pod: not any(security(item).get("privileged") for item in every_container(pod)),
    "host ports": lambda pod: (
        not any(port.get("hostPort") for item in every_container(pod) for port in item.get("ports", []))
    ),
    "host probes": lambda pod: (
        not any(
            item[probe]["httpGet"].get("host")
            for item in every_container(pod)
            for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        )
    ),
    "volume types": lambda pod: all(set(volume) - {"name"} <= VOLUMES for volume in pod["volumes"]),
    "privilege escalation": lambda pod: all(
        security(item).get("allowPrivilegeEscalation") is False for item in every_container(pod)
    ),
    "running as non-root": lambda pod: all(
        of_the_pod_or_container(pod, item, "runAsNonRoot") is True for item in every_container(pod)
    ),
    "running as a user that is not root": lambda pod: all(
        of_the_pod_or_container(pod, item, "runAsUser") != 0 for item in every_container(pod)
    ),
    "seccomp": lambda pod: all(
        of_the_pod_or_container(pod, item, "seccompProfile")["type"] in ("RuntimeDefault", "Localhost")
        for item in every_container(pod)
    ),
    "capabilities": lambda pod: all(
        "ALL" in security(item)["capabilities"]["drop"]
        and set(security(item)["capabilities"].get("add", [])) <= {"NET_BIND_SERVICE"}
        for item in every_container(pod)
    ),
    "nothing unusual": lambda pod: (
        not any(
            name in security(item)
            for item in (pod, *every_container(pod))
            for name in ("sysctls", "procMount", "seLinuxOptions", "windowsOptions", "appArmorProfile")
        )
    ),
}


@pytest.mark.parametrize("control", RESTRICTED)
def test_a_pod_keeps_to_the_restricted_profile(rendered: Rendered, control: str) -> None:
    assert RESTRICTED[control](rendered.pod)


def test_the_namespace_refuses_what_does_not_keep_to_it(rendered: Rendered) -> None:
    labels = rendered.one("Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_it_runs_as_the_user_of_the_image_and_writes_nowhere_but_to_memory(rendered: Rendered) -> None:
    context = security(rendered.pod)
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == only("USER").arguments
    assert security(rendered.container)["readOnlyRootFilesystem"] is True
    sources = {volume["name"]: volume for volume in rendered.pod["volumes"]}
    (writable,) = (mount for mount in rendered.container["volumeMounts"] if not mount.get("readOnly"))
    scratch = sources[writable["name"]]["emptyDir"]
    assert scratch["medium"] == "Memory"
    assert mebibytes(scratch["sizeLimit"]) <= 64


def test_the_pod_has_no_way_to_ask_the_cluster(rendered: Rendered) -> None:
    account = rendered.one("ServiceAccount")
    assert rendered.pod["serviceAccountName"] == account["metadata"]["name"]
    assert (account["automountServiceAccountToken"], rendered.pod["automountServiceAccountToken"]) == (
        False,
        False,
    )


def test_no_variable_of_a_service_named_like_the_settings_reaches_the_pod(rendered: Rendered) -> None:
    assert rendered.pod["enableServiceLinks"] is False


def test_no_secret_is_in_the_manifests(rendered: Rendered) -> None:
    assert rendered.all("Secret") == []
    assert {name for name in rendered.settings if re.search("KEYS$|PASSWORD|KEY$", name)} == set()


def test_the_keys_are_a_secret_that_must_be_there_and_can_be_replaced(rendered: Rendered) -> None:
    if "api-keys" not in rendered.variant:
        assert [volume for volume in rendered.pod["volumes"] if "secret" in volume] == []
        return
    (volume,) = (volume for volume in rendered.pod["volumes"] if "secret" in volume)
    (mount,) = (item for item in rendered.container["volumeMounts"] if item["name"] == volume["name"])
    file = rendered.settings["PNEUMOSCOPE_API_KEYS_FILE"]
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    assert volume["secret"]["optional"] is False
    assert "subPath" not in mount
    # It is root's; the pod's fsGroup is its group, which the service's user belongs to.
    assert volume["secret"]["defaultMode"] == 0o440
    assert security(rendered.pod)["fsGroup"] == security(rendered.pod)["runAsGroup"]
    assert file.rpartition("/")[0] == mount["mountPath"]
    assert f"secret generic {volume['secret']['secretName']} --from-file={file.rpartition('/')[2]}=" in page


# The network

PORT = 8000
OUTSIDE = {
    "an ingress controller": ({"kubernetes.io/metadata.name": "ingress-nginx"}, PORT, True),
    "a Prometheus": ({"kubernetes.io/metadata.name": "monitoring"}, PORT, True),
    "a client": ({"kubernetes.io/metadata.name": "pacs", "pneumoscope/client": "true"}, PORT, True),
    "anybody else": ({"kubernetes.io/metadata.name": "default"}, PORT, False),
    "its own namespace": ({"kubernetes.io/metadata.name": "pneumoscope"}, PORT, False),
    "a Prometheus at another port": ({"kubernetes.io/metadata.name": "monitoring"}, 22, False),
}


def in_namespace(name: str) -> Object:
    """The pods of one namespace."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def lets_in(way: Rendered, namespace: dict[str, str], port: int) -> bool:
    """Whether the policies of the API, which add up, let a pod of a namespace with these labels in at `port`."""
    names = {item["name"]: item["containerPort"] for item in way.container["ports"]}
    policies = [
        policy["spec"]
        for policy in way.all("NetworkPolicy")
        if "Ingress" in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], way.pod_labels)
    ]
    assert policies  # or everything would be let in
    return any(
        port in {names[opened["port"]] for opened in rule["ports"]}
        and any(selects(peer["namespaceSelector"], namespace) for peer in rule["from"])
        for policy in policies
        for rule in policy.get("ingress", [])
    )


@pytest.mark.parametrize("who", OUTSIDE)
def test_the_network_lets_in_whom_the_page_names(rendered: Rendered, who: str) -> None:
    labels, port, expected = OUTSIDE[who]
    assert lets_in(rendered, labels, port) is expected


TRACES = [
    {"ports": [{"port": 4318, "protocol": "TCP"}], "to": [in_namespace("observability")]},
    {
        "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
        # The label of the cluster's DNS, CoreDNS too: a convention that its add-on keeps to.
        "to": [in_namespace("kube-system") | {"podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
    },
]


def test_nothing_goes_out_but_traces_and_the_question_where_to(rendered: Rendered) -> None:
    policies = [policy["spec"] for policy in rendered.all("NetworkPolicy")]
    denying = [item for item in policies if item["podSelector"] == {} and "Egress" in item["policyTypes"]]
    assert [item.get("egress", []) for item in denying] == [[]]
    rules = [rule for policy in policies for rule in policy.get("egress", [])]
    assert rules == (TRACES if "tracing" in rendered.variant else [])


def endpoint(way: Rendered) -> str:
    """Where the service sends its traces."""
    (value,) = (
        item["value"] for item in way.container["env"] if item["name"] == "OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    return str(value)


def test_traces_go_where_the_network_lets_them_and_the_page_says_where(tmp_path: Path) -> None:
    sent_to = endpoint(installed(tmp_path, "cpu+tracing"))
    assert re.fullmatch(r"http://[a-z]+\.observability\.svc\.cluster\.local:4318", sent_to)
    assert sent_to in (ROOT / "docs" / "kubernetes.md").read_text()


def test_traces_go_elsewhere_as_the_page_shows(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    (text,) = re.findall(r"```yaml\n(patches:[^`]*pneumoscope-traces.*?)```", page, flags=re.DOTALL)
    way = installed(tmp_path, "cpu+tracing", **yaml.safe_load(text))
    collector, names = way.one("NetworkPolicy", "pneumoscope-traces")["spec"]["egress"]
    (peer,) = collector["to"]
    namespace = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    assert namespace != "observability"
    assert re.fullmatch(rf"http://[a-z-]+\.{namespace}\.svc\.cluster\.local:4318", endpoint(way))
    assert names["to"] == [*TRACES[1]["to"], {"ipBlock": {"cidr": "169.254.20.10/32"}}]


# The way in

INNER = ("/metrics", "/health/live", "/health/ready")


@pytest.fixture(scope="module", params=[variant for variant in VARIANTS if "ingress" in variant])
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """What has the component."""
    return installed(tmp_path_factory.mktemp("published"), str(request.param))


@pytest.fixture
def ingress(published: Rendered) -> Object:
    return published.one("Ingress")


@pytest.fixture
def annotations(ingress: Object) -> dict[str, str]:
    """Those of the controller, without their prefix."""
    return {name.rpartition("/")[2]: value for name, value in ingress["metadata"]["annotations"].items()}


def leads(paths: list[Object], path: str) -> bool:
    """Whether an Ingress with these paths takes `path` to the service."""
    return any(
        path == item["path"] or (item["pathType"] == "Prefix" and path.startswith(item["path"] + "/"))
        for item in paths
    )


def test_the_ingress_leads_to_every_route_but_those_of_the_cluster(ingress: Object) -> None:
    (rule,) = ingress["spec"]["rules"]
    paths = rule["http"]["paths"]
    routes = [*create_app(Settings()).openapi()["paths"], "/", "/docs", "/openapi.json", "/assets/app.js"]
    assert set(INNER) <= set(routes)
    assert sorted(path for path in routes if not leads(paths, path)) == sorted(INNER)


def test_the_ingress_leads_to_the_service_by_tls(ingress: Object, published: Rendered) -> None:
    (rule,) = ingress["spec"]["rules"]
    backends = [item["backend"]["service"] for item in rule["http"]["paths"]]
    service = published.one("Service")
    (port,) = service["spec"]["ports"]
    assert {item["name"] for item in backends} == {service["metadata"]["name"]}
    assert {item["port"]["name"] for item in backends} == {port["name"]}
    assert [item["hosts"] for item in ingress["spec"]["tls"]] == [[rule["host"]]]


def test_the_ingress_lets_the_service_say_what_is_too_large_or_too_slow(
    annotations: dict[str, str], published: Rendered
) -> None:
    settings = loaded(published.settings)
    assert float(annotations["proxy-body-size"].removesuffix("m")) > settings.max_upload_mb
    for name in ("proxy-read-timeout", "proxy-send-timeout"):
        assert float(annotations[name]) > settings.upload_timeout_s


def test_the_ingress_sends_no_film_a_second_time(annotations: dict[str, str]) -> None:
    assert annotations["proxy-next-upstream"] == "off"


def test_the_ingress_writes_no_film_to_a_disk(annotations: dict[str, str]) -> None:
    assert annotations["proxy-request-buffering"] == "off"
    assert annotations["proxy-max-temp-file-size"] == "0"
