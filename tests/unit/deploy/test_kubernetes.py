"""deploy/kubernetes: what would be applied is valid, and fits the gateway."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.config.load import load
from penstock.config.settings import Settings
from penstock.errors import ConfigError
from penstock.observe.metrics import DECLARED
from penstock.providers.registry import KINDS
from penstock.server.listener import LAST_WORDS_S
from penstock.stores.location import is_postgres
from tests.support import manifests
from tests.support.kustomize import Document, render

ROOT = Path(__file__).parents[3] / "deploy" / "kubernetes"
RENDERED = {place.name: render(place) for place in sorted((ROOT / "overlays").iterdir())}
SCALED = ("istio", "keda", "production")
KUBECTL = shutil.which("kubectl")
SECRETS = {
    "PENSTOCK_ADMIN_TOKEN": "an-admin-token-for-the-tests",
    "PENSTOCK_SECRET": "a-pepper-of-at-least-thirty-two-bytes",
    "PENSTOCK_FIRST_KEY_SHA256": hashlib.sha256(b"pk-first").hexdigest(),
    "PENSTOCK_STORE": "postgresql://penstock:pw@db.example/penstock",
    "PENSTOCK_SHARED": "redis://cache.example:6379/0",
    "DEEPSEEK_API_KEY": "sk-0000000000000000",
}

every_overlay = pytest.mark.parametrize("overlay", RENDERED)


def _one(overlay: str, kind: str, name: str = "penstock") -> Document:
    found = [each for each in RENDERED[overlay] if each["kind"] == kind and each["metadata"]["name"].startswith(name)]
    return min(found, key=lambda each: len(each["metadata"]["name"]))


def _pod(overlay: str) -> Any:
    return _one(overlay, "Deployment")["spec"]["template"]["spec"]


def _container(overlay: str) -> Any:
    (container,) = _pod(overlay)["containers"]
    return container


def _labels(overlay: str) -> dict[str, str]:
    labels: dict[str, str] = _one(overlay, "Deployment")["spec"]["template"]["metadata"]["labels"]
    return labels


# --- by itself


@every_overlay
@pytest.mark.parametrize("version", [manifests.OLDEST, manifests.NEWEST])
def test_every_object_is_what_its_schema_says(overlay: str, version: str) -> None:
    """No field is unknown, missing or of another type."""
    for document in RENDERED[overlay]:
        manifests.validate(document, version)


@pytest.mark.parametrize("mistake", [{"replica": 3}, {"replicas": "three"}, {"selector": None}])
def test_a_mistake_is_found(mistake: Document) -> None:
    """A misspelt field, a wrong type and a missing field do not pass."""
    deployment = _one("production", "Deployment")
    spec = {name: value for name, value in {**deployment["spec"], **mistake}.items() if value is not None}
    with pytest.raises(manifests.ValidationError, match=r"replica|selector"):
        manifests.validate({**deployment, "spec": spec}, manifests.NEWEST)


def test_an_unknown_field_of_a_custom_kind_is_found() -> None:
    """The schemas of other people's kinds are as strict."""
    monitor = _one("production", "ServiceMonitor")
    with pytest.raises(manifests.ValidationError, match="jobLable"):
        manifests.validate({**monitor, "spec": {**monitor["spec"], "jobLable": "x"}}, manifests.NEWEST)


@every_overlay
def test_names_are_unique_and_all_in_one_namespace(overlay: str) -> None:
    """Nothing overwrites anything, nothing lands elsewhere."""
    names = [(each["kind"], each["metadata"]["name"]) for each in RENDERED[overlay]]
    assert len(names) == len(set(names))
    assert {each["metadata"]["namespace"] for each in RENDERED[overlay]} == {"penstock"}


@pytest.mark.parametrize("overlay", RENDERED if KUBECTL else [])
def test_kustomize_itself_renders_the_same(overlay: str) -> None:
    """Where there is a real one, it and the renderer of these tests agree."""
    command = [str(KUBECTL), "kustomize", str(ROOT / "overlays" / overlay)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert _sorted(yaml.safe_load_all(printed)) == _sorted(RENDERED[overlay])


def _sorted(documents: Any) -> list[str]:
    """As text, without the order of what is named."""

    def ordered(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: ordered(value[name]) for name in sorted(value)}
        if isinstance(value, list):
            return sorted((ordered(each) for each in value), key=str)
        return value

    return sorted(str(ordered(each)) for each in documents)


# --- with the gateway


def _config(overlay: str) -> str:
    text: str = _one(overlay, "ConfigMap")["data"]["penstock.yaml"]
    return text


def _settings(overlay: str, directory: Path, without: str = "") -> Settings:
    path = directory / "penstock.yaml"
    path.write_text(_config(overlay), "utf-8")
    return load(path, {name: value for name, value in SECRETS.items() if name != without}, registry=KINDS)


@every_overlay
def test_the_config_is_accepted(overlay: str, tmp_path: Path) -> None:
    """`penstock check` has nothing to say about it; all but ``small`` share what many pods must."""
    settings = _settings(overlay, tmp_path)
    assert not settings.warnings
    assert (settings.shared is not None) is (overlay in SCALED)
    assert is_postgres(settings.store) is (overlay in SCALED)


@pytest.mark.parametrize("missing", SECRETS)
def test_a_config_whose_secret_lacks_a_value_is_refused(missing: str, tmp_path: Path) -> None:
    """The pod says which, and does not start."""
    with pytest.raises(ConfigError, match=missing):
        _settings("production", tmp_path, without=missing)


@every_overlay
def test_the_ports_are_those_of_the_config(overlay: str) -> None:
    """Services, probes and policies lead to where the gateway listens, by the names of its ports."""
    config = yaml.safe_load(_config(overlay))["server"]
    ports = {each["name"]: each["containerPort"] for each in _container(overlay)["ports"]}
    assert config["listen"] == f"0.0.0.0:{ports['http']}"
    assert config["admin_listen"] == f"0.0.0.0:{ports['admin']}"
    assert _one(overlay, "Service")["spec"]["ports"][0]["targetPort"] == "http"
    assert _one(overlay, "Service", "penstock-admin")["spec"]["ports"][0]["targetPort"] == "admin"
    ingress = _one(overlay, "NetworkPolicy")["spec"]["ingress"]
    assert {port["port"]: "from" in rule for rule in ingress for port in rule["ports"]} == {
        "http": False,
        "admin": True,
    }


@every_overlay
def test_selectors_find_the_pods(overlay: str) -> None:
    """Whoever selects pods selects these; whoever selects a Service selects the one of the admin plane."""
    labels = _labels(overlay).items()
    for kind, path in {
        "Deployment": ("selector", "matchLabels"),
        "Service": ("selector",),
        "PodDisruptionBudget": ("selector", "matchLabels"),
        "NetworkPolicy": ("podSelector", "matchLabels"),
    }.items():
        for document in [each for each in RENDERED[overlay] if each["kind"] == kind]:
            selector = document["spec"]
            for name in path:
                selector = selector[name]
            assert selector
            assert selector.items() <= labels
    for constraint in _pod(overlay)["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"].items() <= labels
    admin = _one(overlay, "Service", "penstock-admin")["metadata"]["labels"].items()
    others = _one(overlay, "Service")["metadata"]["labels"].items()
    for monitor in [each for each in RENDERED[overlay] if each["kind"] == "ServiceMonitor"]:
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        assert wanted <= admin
        assert not wanted <= others


@every_overlay
def test_every_variable_of_the_config_comes_from_the_secret(overlay: str) -> None:
    """What the config refers to is there, what is there is used, and no value stands in a manifest."""
    env = _container(overlay)["env"]
    assert {each["name"] for each in env} == set(re.findall(r"\$\{(\w+)\}", _config(overlay)))
    assert all(each["valueFrom"]["secretKeyRef"] == {"name": "penstock", "key": each["name"]} for each in env)
    assert not [each for each in RENDERED[overlay] if each["kind"] == "Secret"]


@every_overlay
def test_the_config_is_mounted_where_it_is_read(overlay: str) -> None:
    """The argument names the file, the volume the ConfigMap, by the digest of its content."""
    container = _container(overlay)
    assert container["args"] == ["serve", "--config", "/etc/penstock/penstock.yaml"]
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    volumes = {each["name"]: each for each in _pod(overlay)["volumes"]}
    assert set(mounts.values()) == set(volumes)
    assert volumes[mounts["/etc/penstock"]]["configMap"]["name"] == _one(overlay, "ConfigMap")["metadata"]["name"]


@pytest.mark.parametrize("overlay", SCALED)
def test_rows_wait_where_the_pod_may_write(overlay: str, tmp_path: Path) -> None:
    """A ConfigMap takes no spool."""
    mounts = {each["mountPath"]: each["name"] for each in _container(overlay)["volumeMounts"]}
    volumes = {each["name"]: each for each in _pod(overlay)["volumes"]}
    assert "emptyDir" in volumes[mounts[str(_settings(overlay, tmp_path).ledger.spool)]]


@every_overlay
def test_the_store_of_one_pod_is_kept(overlay: str) -> None:
    """SQLite lies on a volume that outlives the pod, has one writer, and a path of its own."""
    config, deployment = yaml.safe_load(_config(overlay)), _one(overlay, "Deployment")["spec"]
    if not config["store"].startswith("sqlite:"):
        return
    assert config["store"].startswith("sqlite:/var/lib/penstock/")
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    state = next(each for each in _pod(overlay)["volumes"] if each["name"] == "state")
    assert state["persistentVolumeClaim"]["claimName"] == _one(overlay, "PersistentVolumeClaim")["metadata"]["name"]


# --- its life


@every_overlay
def test_a_pod_has_time_to_drain(overlay: str, tmp_path: Path) -> None:
    """Leaving the Service, the drain and the last words fit into the grace period."""
    pod, container = _pod(overlay), _container(overlay)
    drain_s = _settings("small", tmp_path).server.drain_s
    assert yaml.safe_load(_config(overlay))["server"]["drain"] == f"{drain_s:g}s"
    leaving_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert leaving_s >= 5
    assert leaving_s + drain_s + LAST_WORDS_S < pod["terminationGracePeriodSeconds"]


@every_overlay
def test_probes_ask_the_admin_plane(overlay: str) -> None:
    """Ready is asked of ``/readyz``, alive of ``/healthz``; a pod that is slow is not killed for it."""
    container = _container(overlay)
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {each["port"] for each in asked.values()} == {"admin"}
    assert {name: each["path"] for name, each in asked.items()} == {
        "startup": "/readyz",
        "readiness": "/readyz",
        "liveness": "/healthz",
    }
    liveness, readiness = container["livenessProbe"], container["readinessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60
    assert readiness["periodSeconds"] * readiness["failureThreshold"] <= 5


@pytest.mark.parametrize("overlay", SCALED)
def test_a_disruption_leaves_pods_that_serve(overlay: str) -> None:
    """Neither an eviction nor an update takes the last one."""
    budget, deployment = _one(overlay, "PodDisruptionBudget")["spec"], _one(overlay, "Deployment")["spec"]
    assert _bounds(overlay)[0] - budget["maxUnavailable"] >= 2
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert "replicas" not in deployment  # they are the autoscaler's


@every_overlay
def test_a_pod_may_do_nothing_but_serve(overlay: str) -> None:
    """Not root, nothing to write to but its volumes, no privilege, no token."""
    pod, container = _pod(overlay), _container(overlay)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] >= 10_000
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["automountServiceAccountToken"] is False
    assert _one(overlay, "ServiceAccount")["automountServiceAccountToken"] is False
    assert set(container["resources"]) == {"requests", "limits"}


# --- how many


def _bounds(overlay: str) -> tuple[int, int]:
    if overlay == "keda":
        spec = _one(overlay, "ScaledObject")["spec"]
        return spec["minReplicaCount"], spec["maxReplicaCount"]
    spec = _one(overlay, "HorizontalPodAutoscaler")["spec"]
    return spec["minReplicas"], spec["maxReplicas"]


def _behavior(overlay: str) -> Any:
    if overlay == "keda":
        return _one(overlay, "ScaledObject")["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    return _one(overlay, "HorizontalPodAutoscaler")["spec"]["behavior"]


@pytest.mark.parametrize("overlay", SCALED)
def test_three_to_twenty_pods_quickly_up_and_slowly_down(overlay: str) -> None:
    """More pods come at once, and go after five minutes, one by one."""
    assert _bounds(overlay) == (3, 20)
    behavior = _behavior(overlay)
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert behavior == _behavior("production")


def test_the_autoscaler_goes_by_cpu_and_by_a_gauge_of_ours() -> None:
    """70 % of the CPU that a pod asks for, or 500 requests per second per pod; the adapter finds the gauge."""
    cpu, external = _one("production", "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert cpu["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    assert _container("production")["resources"]["requests"]["cpu"]
    assert external["external"]["target"] == {"type": "AverageValue", "averageValue": "500"}
    name = external["external"]["metric"]["name"]
    rules = (ROOT / "components/hpa/prometheus-adapter-rules.yaml").read_text("utf-8")
    (rule,) = yaml.safe_load(rules)["externalRules"]
    assert rule["name"]["as"] == name
    assert rule["seriesQuery"].startswith(f"{name}{{")
    assert rule["metricsQuery"].startswith("sum(")
    assert name in {declared.name for declared in DECLARED if declared.kind == "gauge"}


def test_keda_asks_for_the_same() -> None:
    """The ScaledObject has the autoscaler's targets, the gauge, and the namespace of its pods."""
    cpu, prometheus = _one("keda", "ScaledObject")["spec"]["triggers"]
    assert (cpu["metricType"], cpu["metadata"]["value"]) == ("Utilization", "70")
    assert (prometheus["metricType"], prometheus["metadata"]["threshold"]) == ("AverageValue", "500")
    assert prometheus["metadata"]["query"] == 'sum(penstock_requests_per_second{namespace="penstock"})'


def test_a_mesh_neither_retries_nor_ejects() -> None:
    """Both are done once, by the gateway."""
    (route,) = _one("istio", "VirtualService")["spec"]["http"]
    service = _one("istio", "Service")
    assert route["retries"] == {"attempts": 0}
    assert route["route"][0]["destination"] == {
        "host": service["metadata"]["name"],
        "port": {"number": service["spec"]["ports"][0]["port"]},
    }
    policy = _one("istio", "DestinationRule")["spec"]["trafficPolicy"]
    assert set(policy) == {"outlierDetection"}
    assert set(policy["outlierDetection"].values()) == {0}
