"""Alerts from end to end: a real Alertmanager, the relay as a process, bots that check signatures; Prometheus."""

import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import yaml

from penstock.wire.bots import BOTS
from tests.support.alertmanager_server import alertmanager_server
from tests.support.backfill import Backfill
from tests.support.gateway_process import PENSTOCK, wait_for
from tests.support.noon import where_it_is_noon
from tests.support.prometheus_server import PATIENCE_S, PrometheusServer
from tests.support.redis_server import LOOPBACK, free_port
from tests.support.scripted_bot import ScriptedBot, scripted_bot

TOKEN = "r3lay-t0ken"
SECRET = "SEC0123456789"
DOWN = {"alertname": "PenstockDown", "severity": "critical", "job": "penstock", "instance": "a:8788"}
QUEUE = {"alertname": "PenstockQueueDeep", "severity": "critical", "job": "penstock", "instance": "a:8788"}
OVERHEAD = {"alertname": "PenstockOverheadHigh", "severity": "warning", "job": "penstock", "instance": "b:8788"}


class Running(NamedTuple):
    """``penstock alerts relay``, a process."""

    port: int
    process: "subprocess.Popen[bytes]"
    config: Path


def write_config(
    path: Path, port: int, bots: Mapping[str, ScriptedBot], store: str = "sqlite:penstock.db", **alerts: Any
) -> None:
    """Its file."""
    entries = {
        name: {"kind": bot.kind, "url": bot.url, **({"secret": bot.secret} if bot.secret else {})}
        for name, bot in bots.items()
    }
    relay = {"listen": f"{LOOPBACK}:{port}", "token": TOKEN, "bots": entries}
    path.write_text(yaml.safe_dump({"store": store, "alerts": {"relay": relay, **alerts}}), "utf-8")


@contextmanager
def running(
    directory: Path, bots: Mapping[str, ScriptedBot], store: str = "sqlite:penstock.db", **alerts: Any
) -> Iterator[Running]:
    """One that lives."""
    port, config = free_port(), directory / "penstock.yaml"
    write_config(config, port, bots, store, **alerts)
    with (directory / "stderr").open("ab") as stderr:
        process = subprocess.Popen([PENSTOCK, "alerts", "relay", "-c", str(config)], stdout=stderr, stderr=stderr)
    try:
        wait_for(lambda: _lives(process, port, directory / "stderr"), "the relay", PATIENCE_S)
        yield Running(port, process, config)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()


def _lives(process: "subprocess.Popen[bytes]", port: int, stderr: Path) -> bool:
    assert process.poll() is None, stderr.read_text("utf-8")
    connection = HTTPConnection(LOOPBACK, port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_alerts_reach_a_group_chat(tmp_path: Path) -> None:
    """Grouped, inhibited, signed; what a bot did not take at first comes again; and that it is over is told, too.

    All that while the store of the gateway, and of the digest that is due, is away.
    """
    away = f"postgresql://penstock:{SECRET}@{LOOPBACK}:1/penstock"
    due = {"timezone": where_it_is_noon(), "digest": {"at": "00:00", "bots": ["ops"]}}
    with ExitStack() as stack:
        bot = stack.enter_context(scripted_bot("dingtalk", SECRET))
        bot.answers.append((200, b'{"errcode":310000,"errmsg":"keywords not in content"}'))
        port = stack.enter_context(running(tmp_path, {"ops": bot}, away, **due)).port
        alertmanager = stack.enter_context(
            alertmanager_server(tmp_path / "alertmanager", f"http://{LOOPBACK}:{port}", TOKEN)
        )
        wait_for(lambda: "the daily digest could not be made" in (tmp_path / "stderr").read_text("utf-8"), "its log")
        alertmanager.fire(DOWN, summary="Penstock at a:8788 cannot be scraped")
        wait_for(lambda: bot.heard, "the first message", PATIENCE_S)
        alertmanager.fire(QUEUE, OVERHEAD, {**OVERHEAD, "instance": "c:8788"})
        wait_for(lambda: len(bot.heard) > 1, "the second message", PATIENCE_S)
        states = {each["labels"]["alertname"]: each["status"]["state"] for each in alertmanager.alerts()}
        alertmanager.fire(DOWN, over=True)
        wait_for(lambda: any("resolved" in each.text for each in bot.heard), "that it is over", PATIENCE_S)
    first, second = bot.heard[:2]
    assert bot.refused == 1
    assert "critical: Penstock at a:8788 cannot be scraped" in first.text
    assert first.document["markdown"]["title"] == "[1 firing] PenstockDown"
    assert second.document["markdown"]["title"] == "[2 firing] PenstockOverheadHigh"
    assert states == {"PenstockDown": "active", "PenstockQueueDeep": "suppressed", "PenstockOverheadHigh": "active"}
    said = (tmp_path / "stderr").read_text("utf-8")
    assert "310000 keywords not in content" in said
    assert not any(secret in said for secret in (SECRET, TOKEN, "access_token", bot.url))


JOB = {"job": "penstock"}
FLASH, PRO = {**JOB, "model": "flash"}, {**JOB, "model": "pro"}
ALL, MINE = {**JOB, "budget": "all"}, {**JOB, "budget": "mine"}
SERVED, FIRST = {**JOB, "slo": "availability"}, {**JOB, "slo": "first_byte"}
HELD_BACK = (
    (("PenstockDown", {**JOB, "instance": "a"}), ("PenstockNearCapacity", {**JOB, "instance": "a"})),
    (("PenstockModelOut", FLASH), ("PenstockErrorRatioHigh", FLASH)),
    (("PenstockModelOut", FLASH), ("PenstockLatencyHigh", FLASH)),
    (("PenstockModelOut", FLASH), ("PenstockDeploymentOut", {**FLASH, "deployment": "p/shared"})),
    (("PenstockAvailabilityBurnFast", SERVED), ("PenstockAvailabilityBurnSlow", SERVED)),
    (("PenstockBudgetSpent", ALL), ("PenstockBudgetNearlySpent", ALL)),
    (("PenstockBudgetSpent", ALL), ("PenstockBudgetProjectedOverrun", ALL)),
)
"""What fires, and what is then not told."""
TOLD = (
    ("PenstockNearCapacity", {**JOB, "instance": "b"}), ("PenstockErrorRatioHigh", PRO), ("PenstockLatencyHigh", PRO),
    ("PenstockFirstByteBurnSlow", FIRST), ("PenstockBudgetNearlySpent", MINE),
    ("PenstockDeploymentOut", {**PRO, "deployment": "p/shared"}),
    ("PenstockDeploymentOut", {"job": "other", "model": "flash", "deployment": "p/shared"}),
    ("SomebodyElse", {**JOB, "instance": "a"}),
)  # fmt: skip
"""What has nothing to do with these."""


def test_what_follows_from_something_else_is_not_told(tmp_path: Path) -> None:
    """Of the same instance, model, promise or budget; of another one it is."""
    sources = [source for source, _ in HELD_BACK]
    with alertmanager_server(tmp_path / "alertmanager", f"http://{LOOPBACK}:1", TOKEN) as alertmanager:
        every = [*sources, *(target for _, target in HELD_BACK), *TOLD]
        alertmanager.fire(*({"alertname": name, "severity": "warning", **labels} for name, labels in every))

        def states() -> dict[tuple[str, ...], str]:
            return {tuple(sorted(each["labels"].values())): each["status"]["state"] for each in alertmanager.alerts()}

        def state(alert: tuple[str, Mapping[str, str]]) -> str | None:
            return states().get(tuple(sorted([alert[0], "warning", *alert[1].values()])))

        wait_for(lambda: {state(target) for _, target in HELD_BACK} == {"suppressed"}, "inhibitions", PATIENCE_S)
        assert {state(each) for each in [*sources, *TOLD]} == {"active"}


def test_the_digest_is_told_once_a_day(tmp_path: Path) -> None:
    """To every kind of bot; a relay that starts again tells only whom nobody has told."""
    noon = where_it_is_noon()
    digest: dict[str, Any] = {"at": "00:00"}
    with ExitStack() as stack:
        bots = {kind: stack.enter_context(scripted_bot(kind, None if kind == "wecom" else SECRET)) for kind in BOTS}
        late = stack.enter_context(scripted_bot("feishu"))
        with running(tmp_path, bots, timezone=noon, digest={**digest, "bots": [*bots]}):
            wait_for(lambda: all(bot.heard for bot in bots.values()), "the digests", PATIENCE_S)
        bots["late"] = late
        with running(tmp_path, bots, timezone=noon, digest={**digest, "bots": [*bots]}):
            wait_for(lambda: late.heard, "the last digest", PATIENCE_S)
    assert [len(bot.heard) for bot in bots.values()] == [1, 1, 1, 1]
    assert all("Spent 0.00 CNY" in bot.heard[0].text for bot in bots.values())


def posted(relay: Running, bot: str) -> int:
    """The status of a notification."""
    body = {"version": "4", "groupKey": bot, "alerts": [{"labels": {"alertname": "PenstockTest"}}]}
    connection = HTTPConnection(LOOPBACK, relay.port, timeout=PATIENCE_S)
    try:
        headers = {"authorization": f"Bearer {TOKEN}"}
        connection.request("POST", f"/alerts/{bot}", msgspec.json.encode(body), headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_reload_takes_over_who_is_told(tmp_path: Path) -> None:
    """By SIGHUP: another bot, and the digest at once; what is no config, or names nobody, changes nothing."""

    def is_said(what: str, times: int) -> bool:
        return (tmp_path / "stderr").read_text("utf-8").count(what) == times

    with scripted_bot("wecom") as one, scripted_bot("wecom") as other, running(tmp_path, {"one": one}) as relay:
        assert (posted(relay, "one"), posted(relay, "other")) == (200, 404)
        for number, text in enumerate(("alerts: [", "alerts: {}"), 1):
            relay.config.write_text(text, "utf-8")
            relay.process.send_signal(signal.SIGHUP)
            wait_for(partial(is_said, "the old one goes on", number), "a refusal", PATIENCE_S)
        assert (posted(relay, "one"), posted(relay, "other")) == (200, 404)
        digest = {"at": "00:00", "bots": ["other"]}
        write_config(relay.config, relay.port, {"other": other}, timezone=where_it_is_noon(), digest=digest)
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: other.heard, "the digest", PATIENCE_S)
        assert (posted(relay, "one"), posted(relay, "other")) == (404, 200)
        relay.process.send_signal(signal.SIGHUP)
        wait_for(partial(is_said, "the config is reloaded", 2), "another reload", PATIENCE_S)
    assert [len(each.heard) for each in (one, other)] == [1, 2]
    assert "Spent 0.00 CNY" in other.heard[0].text


@pytest.fixture
def history(tmp_path: Path) -> Iterator[tuple[PrometheusServer, Callable[..., Any]]]:
    """A Prometheus that remembers four episodes of one rule and one of another; and how to ask for a review."""
    backfill = Backfill(tmp_path / "history.txt")
    rule = {"alertname": "PenstockTest", "severity": "warning", "model": 'a "b"'}
    for gap, steps, value in ((10, 4, 0.6), (5, 6, 0.9), (60, 11, 0.7), (60, 31, 0.8)):
        backfill.silence(gap, "test_ratio", {"model": rule["model"]}, 0.1)
        backfill.episode(steps, 2, rule, metric="test_ratio", labels={"model": rule["model"]}, value=value)
    backfill.episode(3, 0, {"alertname": "PenstockGone", "severity": "info"}, metric="other", labels={}, value=1.0)
    backfill.blocks(tmp_path / "data")
    rules = {"alert": "PenstockTest", "expr": "test_ratio > 0.5", "for": "2m", "labels": {"severity": "warning"}}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "test", "rules": [rules]}]}), "utf-8")
    server = PrometheusServer(tmp_path, {"rule_files": [str(tmp_path / "rules.yaml")]}, "--query.lookback-delta=30s")

    def review(*arguments: str) -> Any:
        asked = ("--prometheus", server.origin, "--since", "12h", "--format", "json", *arguments)
        command = [PENSTOCK, "alerts", "review", *asked]
        done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return msgspec.json.decode(done.stdout)

    try:
        server.start()
        yield server, review
    finally:
        server.stop()


def test_a_review_says_what_was_noise(history: tuple[PrometheusServer, Callable[..., Any]]) -> None:
    """How often, how long, how much of it flapped; and what would have halved it: the figures done by hand."""
    _, review = history
    found = review()
    assert found["rows"] == [
        {
            "alert": "PenstockTest", "severity": "warning", "fired": 4, "minutes": 44.0, "median_minutes": 6.5,
            "flapping": 1, "short": 2, "for": "2m", "halving_for": "7m", "threshold": "> 0.5",
            "halving_threshold": "> 0.7",
        },
        {
            "alert": "PenstockGone", "severity": "", "fired": 1, "minutes": 3.0, "median_minutes": 3.0, "flapping": 0,
            "short": 1, "for": None, "halving_for": None, "threshold": None, "halving_threshold": None,
        },
    ]  # fmt: skip
    assert found["total"] == {"fired": 5, "minutes": 47.0, "flapping": 1, "short": 3}
    assert [row["alert"] for row in review("--match", "PenstockG.*")["rows"]] == ["PenstockGone"]
    assert review("--match", 'no"body')["rows"] == []
