"""The Dockerfile and the compose file: as little as needed, as nobody, for the gateway that there is."""

import re
from pathlib import Path
from typing import Any

import yaml

from penstock.cli import alive
from penstock.cli.main import COMMANDS
from penstock.config.load import load
from penstock.config.units import parse_duration
from penstock.providers.registry import KINDS
from penstock.server.listener import LAST_WORDS_S
from tests.support.dockerfile import Instruction, in_context, stages

ROOT = Path(__file__).parents[3]
BUILD, FINAL = stages(ROOT / "Dockerfile")
COMPOSE = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text("utf-8"))
DEPLOYMENT = yaml.safe_load((ROOT / "deploy/kubernetes/base/deployment.yaml").read_text("utf-8"))


def _the(stage: list[Instruction], name: str) -> Instruction:
    (found,) = [each for each in stage if each.name == name]
    return found


def test_nothing_needs_a_shell() -> None:
    """What is run, at the build and later, is run as it is: the image may lose its shell."""
    for each in [*BUILD, *FINAL]:
        assert each.words


def test_it_runs_as_nobody_of_the_host() -> None:
    """The user is a number other than root's, the same as in Kubernetes, and owns the place of the store."""
    user = _the(FINAL, "USER").rest
    security = DEPLOYMENT["spec"]["template"]["spec"]["securityContext"]
    assert user == f"{security['runAsUser']}:{security['runAsGroup']}" == "10001:10001"
    (made,) = [each.words for each in FINAL if each.name == "RUN"]
    assert {"--owner=10001", "--group=10001", "--mode=0700"} < set(made)
    assert made[-1] == _the(FINAL, "WORKDIR").rest == _the(FINAL, "VOLUME").rest


def test_what_is_built_with_stays_behind() -> None:
    """The image takes the environment and nothing else from the build; installed is what the lock has, by hash."""
    (copied,) = [each for each in FINAL if each.name == "COPY"]
    assert copied.rest == "--from=build /opt/penstock /opt/penstock"
    locked, own = [each.words for each in BUILD if each.name == "RUN" and "install" in each.words]
    assert {"--require-hashes", "--only-binary", "requirements/run.txt"} < set(locked)
    assert {"--no-deps", "--no-build-isolation"} < set(own)


def test_the_context_has_what_is_copied_and_no_more() -> None:
    """Sources of COPY pass .dockerignore; tests, stores, secrets and the history do not."""
    ignores = ROOT / ".dockerignore"
    sources = [ROOT / source for each in BUILD if each.name == "COPY" for source in each.words[:-1]]
    for source in sources:
        files = (
            [each for each in source.rglob("*.*") if "__pycache__" not in each.parts] if source.is_dir() else [source]
        )
        assert all(in_context(str(each.relative_to(ROOT)), ignores) for each in files)
    sent = {each for each in ROOT.iterdir() if in_context(each.name, ignores)}
    assert sent == {source for source in sources if source.parent == ROOT}
    for path in (
        "penstock.db",
        ".git/config",
        ".venv/bin/python",
        "requirements/dev.txt",
        "src/penstock/__pycache__/x.pyc",
        "penstock.yaml",
    ):
        assert not in_context(path, ignores)


def test_it_serves_and_says_whether_it_lives() -> None:
    """The entry point is the command line, the ports are those of the planes, the health check asks the admin plane."""
    assert _the(FINAL, "ENTRYPOINT").words == ["penstock"]
    assert _the(FINAL, "CMD").words[0] in COMMANDS
    assert _the(FINAL, "EXPOSE").words == ["8787", str(alive.ADMIN_PORT)]
    assert _the(FINAL, "HEALTHCHECK").words == ["python", "-m", alive.__name__]


# --- compose


def _penstock() -> Any:
    return COMPOSE["services"]["penstock"]


def test_compose_starts_what_the_config_names() -> None:
    """Every variable of the config is set, every store that it names is a service and healthy first."""
    config = (ROOT / "deploy/compose/penstock.yaml").read_text("utf-8")
    environment = _penstock()["environment"]
    assert set(environment) == set(re.findall(r"\$\{(\w+)\}", config))
    hosts = {re.split(r"[/@]", environment[name].partition("://")[2].rpartition("@")[2])[0].partition(":")[0]
             for name in ("PENSTOCK_STORE", "PENSTOCK_SHARED")}  # fmt: skip
    assert hosts == set(_penstock()["depends_on"]) == set(COMPOSE["services"]) - {"penstock"}
    for name in hosts:
        assert _penstock()["depends_on"][name] == {"condition": "service_healthy"}
        assert COMPOSE["services"][name]["healthcheck"]["test"][0] == "CMD"


def test_the_config_of_compose_is_accepted() -> None:
    """`penstock check` has nothing to say about it, with what compose gives it."""
    environment = {name: re.sub(r"\$\{.+?\}", "0" * 64, value) for name, value in _penstock()["environment"].items()}
    settings = load(ROOT / "deploy/compose/penstock.yaml", environment, registry=KINDS)
    assert not settings.warnings
    assert settings.shared_url == environment["PENSTOCK_SHARED"]
    assert str(settings.ledger.spool) in [each.partition(":")[2] for each in _penstock()["volumes"]]


def test_compose_has_no_secret_and_publishes_no_admin_plane() -> None:
    """Secrets come from outside and must be given; only the data plane is reachable, from this machine."""
    text = (ROOT / "deploy/compose/compose.yaml").read_text("utf-8")
    assert all(name.endswith(":?") for name in re.findall(r"\$\{([^}]+)\}", text))
    assert _penstock()["ports"] == ["127.0.0.1:8787:8787"]
    assert [name for name, each in COMPOSE["services"].items() if "ports" in each] == ["penstock"]


def test_compose_gives_it_nothing_to_write_to_and_time_to_drain() -> None:
    """Read-only, without capabilities, with a volume for its state and longer to stop than its drain."""
    service = _penstock()
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert [each for each in service["volumes"] if not each.endswith(":ro")] == ["penstock:/var/lib/penstock"]
    config = yaml.safe_load((ROOT / "deploy/compose/penstock.yaml").read_text("utf-8"))
    drain_s = parse_duration(config["server"]["drain"])
    assert drain_s + LAST_WORDS_S < parse_duration(service["stop_grace_period"])


def test_both_places_have_one_config() -> None:
    """What Kubernetes and compose serve by differs in comments alone."""
    kubernetes = yaml.safe_load((ROOT / "deploy/kubernetes/base/penstock.yaml").read_text("utf-8"))
    assert yaml.safe_load((ROOT / "deploy/compose/penstock.yaml").read_text("utf-8")) == kubernetes
