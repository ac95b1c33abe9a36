"""A provider turns sick and heals again, beside real servers with the files of deploy/: what is told of it, and shown.

Rules and routes are the committed ones in a hurry (tests/support/hurried_rules.py, alertmanager_server.py), so that an
hour takes seconds. Nothing here looks at how long anything takes: every wait ends when what it waits for is there.
"""

import hashlib
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from penstock.core.usage import Usage
from penstock.providers.play import JSON, Play
from penstock.providers.scripted import Asked, Scene, Script
from tests.support.alertmanager_server import AlertmanagerServer, alertmanager_server
from tests.support.crowd import Asker, crowd
from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.hurried_rules import write_hurried
from tests.support.noon import where_it_is_noon
from tests.support.panels import questions
from tests.support.postgres_server import database_of
from tests.support.prometheus_server import PrometheusServer, prometheus_server
from tests.support.upstream import upstream
from tests.support.webhook import Webhook, webhook

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

LONG_S: Final = 240.0
"""Until what never comes is missed."""
LOOK_S: Final = 0.25
TOKEN: Final = "r3lay-t0ken"
ACCOUNT: Final = "account"
EDGE: Final = "edge-eu"
TEAMS: Final = {EDGE: "edges", "web": "shop", "app": "lab"}
"""Keys, and whose they are."""
CHEAP: Final = {"input": 2, "cached_input": 0.5, "output": 8}
DEAR: Final = {"input": 20_000, "cached_input": 5_000, "output": 40_000}

Alert = tuple[str, Mapping[str, str]]
"""Its name, and some of its labels."""

JOB: Final = {"job": "penstock"}
TOLD: Final[tuple[Alert, ...]] = (
    ("PenstockModelOut", {**JOB, "model": "flash", "severity": "critical"}),
    ("PenstockModelOut", {**JOB, "model": "lite", "severity": "critical"}),
    ("PenstockDeploymentOut", {**JOB, "model": "safe", "deployment": "one/sim-chat", "severity": "warning"}),
    ("PenstockErrorRatioHigh", {**JOB, "model": "half", "severity": "critical"}),
    ("PenstockLatencyHigh", {**JOB, "model": "slow", "severity": "warning"}),
    ("PenstockAvailabilityBurnFast", {**JOB, "slo": "availability", "severity": "critical"}),
    ("PenstockBudgetSpent", {**JOB, "budget": "teams", "severity": "critical"}),
)
"""What fires while the provider is sick, and is over when it is well."""
HELD_BACK: Final[tuple[Alert, ...]] = (
    ("PenstockDeploymentOut", {**JOB, "model": "flash", "deployment": "one/sim-chat"}),
    ("PenstockDeploymentOut", {**JOB, "model": "lite", "deployment": "one/sim-lite"}),
    ("PenstockAvailabilityBurnSlow", {**JOB, "slo": "availability"}),
)
"""What fires as well, and follows from something worse of the same model or promise: nobody is told."""


def config(account_url: str, zone: str, *, sick: bool) -> dict[str, Any]:
    """Of the gateway. What is sick is out, fails half of the time, or takes long; and a team has spent its budget."""
    well: dict[str, Any] = {"speed": 10, "busy": 0}
    purse = {"kind": "deepseek", "base_url": account_url, "api_key": "sk-account", "prices": DEAR}
    one, half, slow = ({"failing": 1}, {"failing": 0.5}, {"speed": 0.06}) if sick else ({}, {}, {})
    return {
        "server": {"edges": [EDGE]},
        "keys": [{"name": name, "team": team, "key_sha256": _digest(name)} for name, team in TEAMS.items()],
        "providers": {
            "one": {"kind": "sim", "simulate": {**well, **one}, "prices": CHEAP},
            "two": {"kind": "sim", "simulate": well},
            "half": {"kind": "sim", "simulate": {**well, **half}},
            "slow": {"kind": "sim", "simulate": {**well, **slow}},
            ACCOUNT: {**purse, "balance": {"every": "1s", "low": 10}},
        },
        "models": {
            "flash": _model("one/sim-chat"),
            "lite": _model("one/sim-lite"),
            "safe": _model("one/sim-chat", "two/sim-chat"),
            "half": _model("half/sim-chat"),
            "slow": _model("slow/sim-chat"),
            "thinks": _model(f"{ACCOUNT}/deepseek-flash"),
        },
        "budgets": [
            {"name": "all", "limit": "1000000 CNY", "window": "day", "timezone": zone},
            {"name": "users", "scope": "user", "limit": "100000 CNY", "entries": {"greedy": "0.0001 CNY"}},
            {
                "name": "teams", "scope": "team", "window": "day", "timezone": zone, "limit": "100000 CNY",
                "entries": {"lab": "0.0001 CNY" if sick else "1000 CNY"}, "hard": False,
            },
        ],
        "retry": {"attempts": 2, "backoff": "20ms", "budget": 1},
        "limits": {"capacity": 50, "adaptive": False},
        "alerts": {"timezone": zone, "tokens_per_day": 10**12},
    }  # fmt: skip


def _model(*deployments: str) -> dict[str, Any]:
    placed = [each.split("/") for each in deployments]
    return {"deployments": [{"provider": provider, "model": model} for provider, model in placed]}


def _key(name: str) -> str:
    return f"psk-{name}-of-the-rehearsal"


def _digest(name: str) -> str:
    return hashlib.sha256(_key(name).encode()).hexdigest()


def edge_config(centre: GatewayProcess, store: str) -> dict[str, Any]:
    """Of an edge, whose ledger waits on its disk while PostgreSQL is away."""
    return {
        "server": {"secret": "a-secret-of-the-rehearsal-which-is-long"},
        "store": store,
        "keys": [{"name": "web", "key_sha256": _digest("web")}],
        "providers": {"centre": {"kind": "penstock", "base_url": centre.base_url, "api_key": _key(EDGE), "sync": "1s"}},
    }


def account() -> Scene:
    """A provider that thinks, charges, and tells what is left."""
    answers = Script().stream(["so", " be", " it"], usage=Usage(10, 0, 0, 5, 3), reasoning=["hm"]).forever()
    served = 0

    def scene(asked: Asked) -> Play:
        nonlocal served
        if asked.call.method != "GET":
            served += 1
            return answers.play(asked)
        left = f"{1_000_000 - served * (10 * DEAR['input'] + 5 * DEAR['output']) / 1e6:.2f}"
        infos = [{"currency": "CNY", "total_balance": left}]
        return Play((msgspec.json.encode({"is_available": True, "balance_infos": infos}),), headers=JSON)

    return scene


class Live:
    """All of it, running."""

    def __init__(
        self,
        gateway: GatewayProcess,
        prometheus: PrometheusServer,
        alertmanager: AlertmanagerServer,
        hook: Webhook,
        config_when: Callable[..., dict[str, Any]],
    ) -> None:
        """``config_when``: the gateway's, when its provider is sick, or not."""
        self.hook = hook
        self._gateway, self._prometheus, self._alertmanager = gateway, prometheus, alertmanager
        self._config_when = config_when
        self.answers: dict[str, list[float]] = {each.expr: [] for each in questions()}
        """Of each query of a panel: the first values that it had."""

    def turn(self, *, sick: bool) -> None:
        """As an operator does: write the file, and SIGHUP."""
        self._gateway.configure(**self._config_when(sick=sick))
        self._gateway.signal(signal.SIGHUP)

    def not_served(self) -> list[str]:
        """Models of which nothing was answered yet, as Prometheus knows."""
        found = self._prometheus.query('sum by (model) (penstock_requests_total{outcome="ok"}) > 0')
        return sorted({*self._config_when(sick=False)["models"]} - {labels["model"] for labels, _ in found})

    def not_told(self) -> list[Alert]:
        """What ought to fire, and is not told so far."""
        return [(name, labels) for name, labels in TOLD if not self.hook.ever(name, **labels)]

    def not_held_back(self) -> list[Alert]:
        """What ought to fire and to be held back because of something else, and is not so far."""
        found = [each["labels"] for each in self._alertmanager.alerts() if each["status"]["inhibitedBy"]]
        return [
            (name, labels)
            for name, labels in HELD_BACK
            if not any(each.items() >= {"alertname": name, **labels}.items() for each in found)
        ]

    def not_together(self) -> list[int]:
        """How many models were told to be out in one notification at the most, until it is both."""
        return [most for most in [self.hook.most_at_once("PenstockModelOut")] if most < 2]

    def not_over(self) -> list[Alert]:
        """What is not told to be over so far."""
        return [(name, labels) for name, labels in TOLD if not self.hook.is_over(name, **labels)]

    def silent(self) -> list[str]:
        """Queries of panels without an answer so far."""
        for expr in [expr for expr, values in self.answers.items() if not values]:
            self.answers[expr] = [value for _, value in self._prometheus.query(expr)]
        return [expr for expr, values in self.answers.items() if not values]


@contextmanager
def live(directory: Path) -> Iterator[Live]:
    """A gateway and an edge of it, who asks them, and who watches."""
    with ExitStack() as stack:
        for each in ("gateway", "edge", "prometheus", "prometheus/rules"):
            (directory / each).mkdir()
        up = stack.enter_context(upstream())
        up.script.at(ACCOUNT).call(account()).forever()
        config_when = partial(config, up.url(ACCOUNT), where_it_is_noon())
        hook = stack.enter_context(webhook(TOKEN))
        alertmanager = stack.enter_context(alertmanager_server(directory / "alertmanager", hook.origin, TOKEN))
        gateway = stack.enter_context(gateway_process(directory / "gateway", **config_when(sick=False)))
        store = database_of(directory / "edge")
        edge = stack.enter_context(gateway_process(directory / "edge", **edge_config(gateway, store)))
        write_hurried(directory / "prometheus" / "rules")
        targets = [f"127.0.0.1:{each.admin_port}" for each in (gateway, edge)]
        prometheus = stack.enter_context(
            prometheus_server(
                directory / "prometheus",
                targets,
                alertmanagers=[f"127.0.0.1:{alertmanager.port}"],
                rules=directory / "prometheus" / "rules",
            )
        )
        web, app = _key("web"), _key("app")
        stack.enter_context(
            crowd(
                Asker(gateway.origin, web, "flash", 0.2),
                Asker(gateway.origin, web, "lite", 0.05, usual=False),
                Asker(gateway.origin, web, "safe", 0.1, streamed=True),
                Asker(gateway.origin, web, "half", 0.1, usual=False, times=2),
                Asker(gateway.origin, web, "slow", 1.0, usual=False, times=12),
                Asker(gateway.origin, web, "thinks", 0.5, usual=False, streamed=True),
                Asker(gateway.origin, web, "safe", 1.0, user="greedy", usual=False),
                Asker(gateway.origin, app, "safe", 0.5, usual=False),
                Asker(edge.origin, web, "safe", 0.5),
            )
        )
        yield Live(gateway, prometheus, alertmanager, hook, config_when)


def until_none(left: Callable[[], Collection[object]], what: str) -> None:
    """Wait until nothing is left; who waits in vain says what is."""
    until = time.monotonic() + LONG_S
    while found := left():
        assert time.monotonic() < until, f"waited {LONG_S:g} s for {what}: {found}"
        time.sleep(LOOK_S)


def test_a_provider_turns_sick_and_heals(tmp_path: Path) -> None:
    """Seven alerts reach the webhook, in groups, without those that follow from them, and each is told to be over.

    In the same run every query of every panel of every dashboard has an answer.
    """
    with live(tmp_path) as run:
        until_none(run.not_served, "an answer of each model")
        run.turn(sick=True)
        until_none(run.not_told, "what fires")
        until_none(run.not_held_back, "what is held back")
        until_none(run.not_together, "two models in one notification")
        assert [each for each in HELD_BACK if run.hook.ever(each[0], **each[1])] == []
        run.turn(sick=False)
        until_none(run.not_over, "the end of what fired")
        until_none(run.silent, "an answer to each query of a panel")
    assert not [expr for expr, values in run.answers.items() if not all(map(isfinite, values))]
    assert run.hook.refused == 0
