"""deploy/alertmanager: amtool takes it, each tier goes its way, and nothing secret stands in it."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from penstock.providers.chat import SAME_NEWS_S

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "deploy" / "alertmanager" / "alertmanager.yaml"
RULES = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yaml"))
AMTOOL = shutil.which("amtool")
PATIENCE_S: Final = 60

needs_amtool = pytest.mark.skipif(
    AMTOOL is None, reason="amtool is not installed (apt install prometheus-alertmanager)"
)


def _amtool(*arguments: str) -> str:
    assert AMTOOL is not None
    done = subprocess.run([AMTOOL, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _config() -> Any:
    return yaml.safe_load(CONFIG.read_text("utf-8"))


def _alerts() -> dict[str, Any]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text("utf-8"))["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


@needs_amtool
def test_alertmanager_takes_it() -> None:
    """All receivers and inhibitions of it."""
    said = _amtool("check-config", str(CONFIG))
    assert "SUCCESS" in said
    assert "4 inhibit rules" in said


@needs_amtool
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["severity=critical", "alertname=PenstockDown"], "chat-urgent"),
        (["severity=warning", "alertname=PenstockLatencyHigh"], "chat"),
        (["severity=info", "alertname=PenstockPricesOld"], "chat"),
        (["severity=page", "alertname=SomebodyElse"], "chat"),
        (["alertname=SomebodyElse"], "chat"),
    ],
)
def test_each_tier_goes_its_way(labels: list[str], receiver: str) -> None:
    """By its severity alone; what has none is not lost."""
    _amtool("config", "routes", "test", f"--config.file={CONFIG}", f"--verify.receivers={receiver}", *labels)


def test_only_what_can_wait_is_quiet_at_night() -> None:
    """Warnings and what is for information; what is critical never is, and what is unknown neither."""
    tree = _config()["route"]
    muted = {each["matchers"][0].split()[-1] for each in tree["routes"] if each.get("mute_time_intervals")}
    assert muted == {"warning", "info"}
    assert "mute_time_intervals" not in tree
    assert {each["matchers"][0].split()[-1] for each in tree["routes"]} == {"critical", "warning", "info"}


def test_the_same_news_comes_later_than_the_relay_forgets_it() -> None:
    """Else a reminder would be taken for a repetition (SAME_NEWS_S)."""
    tree = _config()["route"]
    for each in [tree, *tree["routes"]]:
        found = re.fullmatch(r"(\d+)([mhd])", each.get("group_interval", "10m"))
        assert found is not None
        assert int(found[1]) * {"m": 60, "h": 3600, "d": 86400}[found[2]] > SAME_NEWS_S


def _fits(matcher: str, name: str) -> bool:
    parts = re.fullmatch(r"alertname (=~|!=|=) (\S+)", matcher)
    assert parts is not None
    return bool(re.fullmatch(parts[2], name)) == (parts[1] != "!=")


def test_inhibitions_name_alerts_that_there_are() -> None:
    """On both sides; a pattern fits some. Each source is at least as bad as what it silences."""
    alerts, order = _alerts(), ("info", "warning", "critical")

    def named(matchers: list[str]) -> list[str]:
        return [name for name in alerts if all(_fits(matcher, name) for matcher in matchers)]

    for rule in _config()["inhibit_rules"]:
        sources, targets = named(rule["source_matchers"]), named(rule["target_matchers"])
        assert sources
        assert targets
        assert not set(sources) & set(targets)
        worst = min(order.index(alerts[name]["labels"]["severity"]) for name in sources)
        assert worst >= max(order.index(alerts[name]["labels"]["severity"]) for name in targets)


def test_nothing_secret_stands_in_it() -> None:
    """Credentials are read from files."""
    text = CONFIG.read_text("utf-8")
    assert not re.search(
        r"(?m)^\s*(- )?(smtp_auth_password|api_url|slack_api_url|credentials|password|bearer_token):", text
    )
    assert len(re.findall(r"(?:_file): /etc/alertmanager/secrets/", text)) == 4
