"""What the background knows of the ledger's day and of accounts is in the next scrape, and alerts go by it."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from penstock.clock import LoopClock
from penstock.core.usage import Usage
from penstock.providers.ask import TIMEOUT_S
from penstock.providers.scripted import Scripted
from penstock.server.gauges import watch
from tests.support.house import BASE, END_S, EPOCH, House, chat, open_house
from tests.support.metrics_text import samples

pytestmark = pytest.mark.looptime(end=END_S)

ROOT: Final = Path(__file__).parents[3]
RULES: Final = ROOT / "deploy" / "prometheus" / "rules"
PROMTOOL: Final = shutil.which("promtool")
PROMTOOL_PATIENCE_S: Final = 300
ACCOUNT: Final = {
    "kind": "deepseek",
    "api_key": "k",
    "prices": {"input": 1_000_000, "cached_input": 0, "output": 0, "currency": "CNY"},
    "balance": {"every": "10m", "low": 100},
}
"""A token costs 1 CNY there."""
TOLD: Final = {
    "penstock_account_balance",
    "penstock_account_balance_low",
    "penstock_ledger_drift_ratio",
    "penstock_tokens_per_day_limit",
    "penstock_tokens_today",
}
OWN: Final[dict[str, Any]] = {
    "providers": {**BASE["providers"], "own": ACCOUNT},
    "models": {**BASE["models"], "dear": {"deployments": [{"provider": "own", "model": "d-1"}]}},
}


async def scraped(house: House) -> str:
    """The text that Prometheus gets."""
    watch(house.gateway)
    return (await house.gateway.metrics.scrape()).decode()


async def seen(house: House, name: str) -> dict[tuple[str, ...], float]:
    """The series of one metric, by the values of their labels in the order of the labels' names."""
    found = samples(await scraped(house))
    return {tuple(value for _, value in labels): value for (each, labels), value in found.items() if each == name}


def tells(account: Scripted, total: str) -> None:
    """Its next answer."""
    account.json({"is_available": True, "balance_infos": [{"currency": "CNY", "total_balance": total}]})


async def test_the_day_is_told_from_the_ledger() -> None:
    """Tokens by kind, their cost, and the limit as the settings have it now."""
    async with open_house(alerts={"tokens_per_day": 1000}) as house:
        house.upstream.reply("hi", usage=Usage(input_miss=10, output=5))
        assert (await house.answer(chat())).status == 200
        assert await seen(house, "penstock_tokens_today") == {}
        await house.gateway.today.look()
        tokens = await seen(house, "penstock_tokens_today")
        assert tokens == {("input_miss",): 10, ("input_hit",): 0, ("cache_write",): 0, ("output",): 5}
        assert await seen(house, "penstock_cost_today") == {("CNY",): pytest.approx(0.00006)}
        assert await seen(house, "penstock_tokens_per_day_limit") == {(): 1000}


async def test_an_account_is_told_as_its_provider_says() -> None:
    """With what counts as little; of others there is nothing."""
    account = Scripted(LoopClock(EPOCH))
    tells(account, "110.50")
    async with open_house(transports={"deepseek": account}, **OWN) as house:
        await house.gateway.balances.look()
        assert await seen(house, "penstock_account_balance") == {("CNY", "own"): 110.5}
        assert await seen(house, "penstock_account_balance_low") == {("CNY", "own"): 100}
        assert await seen(house, "penstock_ledger_drift_ratio") == {}


async def test_requests_know_nothing_of_a_provider_that_says_no_balance() -> None:
    """Nor a scrape: while it is silent both go on at once, and then nothing is told of the account."""
    account = Scripted(LoopClock(EPOCH))
    account.hang()
    async with open_house(transports={"deepseek": account}, **OWN) as house:
        began = house.now
        asking = asyncio.create_task(house.gateway.balances.look())
        assert (await house.answer(chat())).status == 200
        assert await seen(house, "penstock_account_balance") == {}
        assert house.now == began
        await asking
        assert house.now == pytest.approx(began + TIMEOUT_S)
        assert await seen(house, "penstock_account_balance") == {}


# --- the alerts, by promtool on these very texts


def fires(directory: Path, shown: Mapping[str, str], alert: str, labels: Mapping[str, str], summary: str) -> None:
    """It alone does, with these labels, when each instance has shown its text for 80 minutes; "" = it is silent."""
    assert PROMTOOL is not None
    rules = yaml.safe_load((RULES / "alerts.yaml").read_text("utf-8"))["groups"]
    (rule,) = [rule for group in rules for rule in group["rules"] if rule.get("alert") == alert]
    expected = {
        "exp_labels": {"severity": rule["labels"]["severity"], "job": "penstock", **labels},
        "exp_annotations": {**rule["annotations"], "summary": summary},
    }
    series = [
        {"series": f'{name}{{job="penstock",instance="{instance}",{inside}}}', "values": f"{value}+0x80"}
        for instance, text in shown.items()
        for name, inside, value in re.findall(r"^(penstock_\w+)(?:\{(.*)\})? (\S+)$", text, flags=re.MULTILINE)
        if name in TOLD
    ]
    case = {"eval_time": "80m", "alertname": alert, "exp_alerts": [expected] if summary else []}
    tried = {
        "rule_files": [str(RULES / f"{name}.yaml") for name in ("recording", "alerts", "thresholds")],
        "group_eval_order": ["penstock-budgets", "penstock-alerts-money", "penstock-alerts-ledger"],
        "tests": [{"interval": "1m", "input_series": series, "alert_rule_test": [case]}],
    }
    path = directory / f"{alert}.yaml"
    path.write_text(yaml.safe_dump(tried), "utf-8")
    done = subprocess.run(
        [PROMTOOL, "test", "rules", str(path)],
        capture_output=True, text=True, timeout=PROMTOOL_PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt install prometheus)")
async def test_alerts_fire_by_what_a_gateway_shows(tmp_path: Path) -> None:
    """Of two nodes one leads and shows the day and the account; the other shows the limits alone."""
    clock = LoopClock(EPOCH)
    account = Scripted(clock)
    tells(account, "110.00")
    account.reply("hi", usage=Usage(input_miss=10, output=1))
    tells(account, "99.40")
    alerts, store = {"tokens_per_day": 9}, f"sqlite:{tmp_path / 'store.db'}"
    async with open_house(clock=clock, transports={"deepseek": account}, alerts=alerts, store=store, **OWN) as house:
        following = await scraped(house)
        await house.gateway.balances.look()
        before = {"a:8788": await scraped(house), "b:8788": following}
        await house.answer(chat(model="dear"))
        await house.gateway.stores.ledger.flush()
        await clock.sleep(600.0)
        await house.gateway.balances.look()
        await house.gateway.today.look()
        after = {"a:8788": await scraped(house), "b:8788": following}
    for alert in ("PenstockDailyTokensHigh", "PenstockAccountBalanceLow", "PenstockLedgerDrift"):
        fires(tmp_path, before, alert, {}, "")
    fires(tmp_path, after, "PenstockDailyTokensHigh", {}, "11 tokens were used today")
    low = {"provider": "own", "currency": "CNY"}
    fires(tmp_path, after, "PenstockAccountBalanceLow", low, "The account at own has 99.40 CNY left")
    drift = "The account at own fell 6% otherwise than the ledger says"
    fires(tmp_path, after, "PenstockLedgerDrift", {"provider": "own"}, drift)
