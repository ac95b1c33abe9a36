"""deploy/compose.yaml: one machine with everything, closed to all others, and true to the files that it mounts."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from jsonschema.validators import validator_for  # type: ignore[import-untyped] # its stubs are a package more

from penstock.config.load import load
from penstock.config.units import parse_duration
from penstock.providers.registry import KINDS
from penstock.server.listener import LAST_WORDS_S

ROOT: Final = Path(__file__).parents[3]
DEPLOY: Final = ROOT / "deploy"
TEXT: Final = (DEPLOY / "compose.yaml").read_text("utf-8")
COMPOSE: Final[dict[str, Any]] = yaml.safe_load(TEXT)
CHAT_TEXT: Final = (DEPLOY / "compose/chat.yaml").read_text("utf-8")
CHAT: Final[dict[str, Any]] = yaml.safe_load(CHAT_TEXT)
RELAY: Final = CHAT["services"]["relay"]
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
PENSTOCK: Final = SERVICES["penstock"]
ALL: Final = SERVICES | {"relay": RELAY}
"""With chat.yaml on top."""
STORES: Final = {"redis", "postgres"}


def _read(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text("utf-8"))


def _mounts(service: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """From where, to where, and whether it may be written."""
    parts = [each.split(":") for each in service.get("volumes", ())]
    return [(source, target, mode != ["ro"]) for source, target, *mode in parts]


# --- the file


def test_the_specification_takes_it() -> None:
    """Every key and every value is one of the Compose specification."""
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text("utf-8"))
    validator = validator_for(schema)(schema)
    assert list(validator.iter_errors(COMPOSE)) == []
    assert list(validator.iter_errors(CHAT)) == []
    assert list(validator.iter_errors(COMPOSE | {"services": {"penstock": {"imagee": "penstock"}}})) != []


def test_it_has_all_that_is_needed() -> None:
    """The gateway, its stores, and what watches it."""
    assert SERVICES.keys() == {"penstock", "redis", "postgres", "prometheus", "alertmanager", "grafana"}


@pytest.mark.parametrize("name", ALL)
def test_each_is_pinned_and_asked_whether_it_is_well(name: str) -> None:
    """An image of one version, a health check without a shell, and a start after a crash."""
    service = ALL[name]
    assert re.fullmatch(r"[\w/-]+:v?\d+\.\d+(\.\d+)?(@sha256:[0-9a-f]{64})?", service["image"])
    check = service["healthcheck"]
    assert check["test"][0] == "CMD"
    assert parse_duration(check["timeout"]) <= parse_duration(check["interval"])
    assert check["retries"] > 0
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", ALL)
def test_what_is_mounted_is_there(name: str) -> None:
    """Files beside the compose file exist and cannot be written; what is written is in a volume that is declared."""
    for source, target, writable in _mounts(ALL[name]):
        assert target.startswith("/")
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
            assert not writable
        else:
            assert source in COMPOSE["volumes"]
            assert writable


def test_every_volume_is_used() -> None:
    """And by one service each."""
    used = [source for each in SERVICES.values() for source, _, _ in _mounts(each) if not source.startswith(".")]
    assert sorted(used) == sorted(COMPOSE["volumes"])


def test_no_secret_is_in_it() -> None:
    """Secrets come from outside and must be given: there is no default for any, and the first lines name them all."""
    told: set[str] = set()
    for text in (TEXT, CHAT_TEXT):
        given = set(re.findall(r"\$\{([^}]+)\}", text))
        told |= set(re.findall(r"\b([A-Z_\d]{8,})=\w*\.*", text.partition("services:")[0]))
        assert all(name.endswith(":?") for name in given)
        assert {name.removesuffix(":?") for name in given} <= told
    secret = re.compile(r"(SECRET|PASSWORD|TOKEN|_KEY|SHA256)", re.IGNORECASE)
    for service in ALL.values():
        for name, value in service.get("environment", {}).items():
            assert not secret.search(name) or value.startswith("${"), name


def test_only_this_machine_reaches_it() -> None:
    """Ports are published on loopback, the admin plane and the stores on none, and no two are the same."""
    published = [port for each in SERVICES.values() for port in each.get("ports", ())]
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", each) for each in published)
    assert len(set(published)) == len(published)
    assert not any("8788" in each for each in published)
    assert not any("ports" in SERVICES[name] for name in STORES)
    assert PENSTOCK["ports"] == ["127.0.0.1:8787:8787"]


@pytest.mark.parametrize("name", sorted(ALL.keys() - STORES))
def test_it_can_do_no_more_than_it_has_to(name: str) -> None:
    """A root that cannot be written, no capabilities, none to be gained."""
    service = ALL[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_health_is_asked_where_it_is_served() -> None:
    """Each is asked at the port that it publishes."""
    for service in SERVICES.values():
        asked = re.findall(r"http://127\.0\.0\.1:(\d+)/", " ".join(service["healthcheck"]["test"]))
        ports = [port.rpartition(":")[2] for port in service.get("ports", ())]
        assert not asked or asked == ports


# --- Penstock


def test_it_starts_what_the_config_names() -> None:
    """Every variable of the config is set, every store that it names is a service and healthy first."""
    config = (DEPLOY / "compose/penstock.yaml").read_text("utf-8")
    environment = PENSTOCK["environment"]
    assert set(environment) == set(re.findall(r"\$\{(\w+)\}", config))
    hosts = {re.split(r"[/@]", environment[name].partition("://")[2].rpartition("@")[2])[0].partition(":")[0]
             for name in ("PENSTOCK_STORE", "PENSTOCK_SHARED")}  # fmt: skip
    assert hosts == set(PENSTOCK["depends_on"]) == STORES
    for name in hosts:
        assert PENSTOCK["depends_on"][name] == {"condition": "service_healthy"}


def test_the_config_of_compose_is_accepted() -> None:
    """`penstock check` has nothing to say about it, with what compose gives it."""
    environment = {name: re.sub(r"\$\{.+?\}", "0" * 64, value) for name, value in PENSTOCK["environment"].items()}
    settings = load(DEPLOY / "compose/penstock.yaml", environment, registry=KINDS)
    assert not settings.warnings
    assert settings.shared_url == environment["PENSTOCK_SHARED"]
    assert str(settings.ledger.spool) in [target for _, target, _ in _mounts(PENSTOCK)]


def test_it_has_nothing_to_write_to_but_its_volume_and_time_to_drain() -> None:
    """A volume for its state, and longer to stop than its drain."""
    assert [each for each in _mounts(PENSTOCK) if each[2]] == [("penstock", "/var/lib/penstock", True)]
    drain_s = parse_duration(_read("compose/penstock.yaml")["server"]["drain"])
    assert drain_s + LAST_WORDS_S < parse_duration(PENSTOCK["stop_grace_period"])


def test_both_places_have_one_config() -> None:
    """What Kubernetes and compose serve by differs in comments alone."""
    assert _read("compose/penstock.yaml") == _read("kubernetes/base/penstock.yaml")


# --- what watches it


def test_prometheus_has_one_config() -> None:
    """That of deploy/prometheus, with the names of services for loopback."""
    renamed = json.dumps(_read("prometheus/prometheus.yaml"))
    for port, name in (("8788", "penstock"), ("9093", "alertmanager")):
        renamed = renamed.replace(f"127.0.0.1:{port}", f"{name}:{port}")
        assert name in SERVICES
    assert _read("compose/prometheus.yaml") == json.loads(renamed)


def test_programs_read_what_is_mounted() -> None:
    """The config that a command names is one of its mounts, and data goes to its volume."""
    for name, flag in (("prometheus", "--storage.tsdb.path"), ("alertmanager", "--storage.path")):
        options = dict(each.partition("=")[::2] for each in SERVICES[name]["command"])
        targets = {target: writable for _, target, writable in _mounts(SERVICES[name])}
        assert targets[options["--config.file"]] is False
        assert targets[options[flag]] is True


def test_prometheus_keeps_exemplars_and_long_enough() -> None:
    """Dots on graphs need the feature; the spend of an hour is compared with that of a week before."""
    options = dict(each.partition("=")[::2] for each in SERVICES["prometheus"]["command"])
    assert options["--enable-feature"] == "exemplar-storage"
    assert parse_duration(options["--storage.tsdb.retention.time"]) >= parse_duration("8d")


def test_grafana_finds_its_dashboards_and_its_source() -> None:
    """What the provisioning files take from the environment is set, and points to what is mounted and served."""
    grafana = SERVICES["grafana"]
    provisioning = DEPLOY / "grafana" / "provisioning"
    texts = [json.dumps(yaml.safe_load(path.read_text("utf-8"))) for path in provisioning.rglob("*.yaml")]
    asked = {name for text in texts for name in re.findall(r"\$(\w+)", text)}
    assert asked == {"PENSTOCK_DASHBOARDS", "PENSTOCK_PROMETHEUS_URL"} <= grafana["environment"].keys()
    mounted = {target: source for source, target, _ in _mounts(grafana)}
    dashboards = grafana["environment"]["PENSTOCK_DASHBOARDS"]
    assert mounted[dashboards] == "./grafana/dashboards"
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (DEPLOY / "grafana/dashboards" / Path(home).relative_to(dashboards)).exists()
    assert grafana["environment"]["PENSTOCK_PROMETHEUS_URL"] == "http://prometheus:9090"


# --- a chat on top


def test_the_relay_is_where_alertmanager_looks() -> None:
    """On its loopback, at its port, with the token in the file that it reads; the rest is as without a chat."""
    told = _read("alertmanager/alertmanager.yaml")["receivers"][0]["webhook_configs"][0]
    config = _read("compose/relay.yaml")["alerts"]["relay"]
    assert RELAY["network_mode"] == "service:alertmanager"
    assert told["url"].startswith(f"http://{config['listen']}/")
    assert told["url"].rpartition("/")[2] in config["bots"]
    (secret,) = CHAT["services"]["alertmanager"]["secrets"]
    assert secret["target"] == told["http_config"]["authorization"]["credentials_file"]
    assert CHAT["secrets"][secret["source"]] == {"environment": "PENSTOCK_RELAY_TOKEN"}
    assert RELAY["healthcheck"]["test"][-1] == config["listen"].rpartition(":")[2]
    assert RELAY["image"] == PENSTOCK["image"]


@pytest.mark.parametrize("kind", ["dingtalk", "feishu", "wecom"])
def test_the_config_of_the_relay_is_accepted(kind: str) -> None:
    """With what compose gives it, and nothing besides."""
    config = (DEPLOY / "compose/relay.yaml").read_text("utf-8")
    asked = {
        each for line in config.splitlines() if not line.startswith("#") for each in re.findall(r"\$\{(\w+)\}", line)
    }
    assert asked == RELAY["environment"].keys()
    environment = {
        "PENSTOCK_STORE": PENSTOCK["environment"]["PENSTOCK_STORE"].replace("${POSTGRES_PASSWORD:?}", "0" * 16),
        "PENSTOCK_RELAY_TOKEN": "0" * 32,
        "PENSTOCK_BOT_KIND": kind,
        "PENSTOCK_BOT_URL": "https://bot.example/send?key=0123",
    }
    settings = load(DEPLOY / "compose/relay.yaml", environment, registry=KINDS)
    assert not settings.warnings
    assert settings.alerts.bots["ops"].kind == kind
    assert RELAY["environment"]["PENSTOCK_STORE"] == PENSTOCK["environment"]["PENSTOCK_STORE"]
