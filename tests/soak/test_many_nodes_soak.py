"""B03, B11 and B12 in full: four nodes, a minute of each fault, PostgreSQL away for a minute. Prints its figures."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.support.bars import Bar, missed, show
from tests.support.gateway_process import wait_for
from tests.support.many_nodes import COST, limit, many_nodes, money
from tests.support.postgres_trouble import Loss
from tests.support.redis_trouble import FAULTS, trouble
from tests.support.stopped_node import serve_out, stop_one

NODES = 4
CALLS = 2_000
FAULT_S = 60.0
DOWN_S = 60.0

pytestmark = pytest.mark.soak


def test_a_node_is_stopped_for_ten_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """B03: nothing is overspent, nothing is lost of what there was, and counter and ledger agree to the nano-unit."""
    budgets = [limit("all", "global", CALLS), limit("per-user", "user", CALLS, entries={"user-0": money(100)})]
    with many_nodes(tmp_path, budgets=budgets) as house:
        nodes = house.nodes(NODES)
        said = asyncio.run(stop_one(house, nodes, rate=140, before_s=4.0, stopped_s=10.0, after_s=4.0))
        said += asyncio.run(serve_out(house, nodes))
        settled_s = house.settles(10)
        before = house.counted()
        house.redis.call("FLUSHALL")
        wait_for(lambda: house.epoch() == 2, "all to be counted anew")
        again = asyncio.run(house.ask_all(10 * NODES, nodes))
        house.settles(10)
        figures, told = house.check(), Counter(each.told.status for each in [*said, *again])
        counted = house.counted()
        differ = sum(counted[place].known != each.known for place, each in before.items() if place in counted)
        bars = [
            Bar("requests", len(said), least=1),
            Bar(f"served {dict(told)}", told[200], least=CALLS),
            Bar("accounts counted by all at once", len(counted), least=1),
            Bar("overspent, nano-units", max(0, figures.charged_nano - CALLS * COST), most=0),
            Bar("room lost, nano-units", CALLS * COST - figures.charged_nano, most=0),
            Bar("counter = ledger after, s", settled_s, most=5.0),
            Bar("accounts of another value, counted by all at once", differ, most=0),
        ]
        show("B03: four nodes, one stopped for 10 s", bars, capsys)
        assert not missed(bars)


@pytest.mark.parametrize("fault", FAULTS)
def test_redis_is_of_no_use_for_a_minute(fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """B11: one fault, a minute, four nodes."""
    with trouble(tmp_path, nodes=NODES, calls={"closed": 4_000, "open": 1_000_000}) as house:
        course = asyncio.run(house.suffer(fault, rate=60, before_s=10.0, fault_s=FAULT_S))
        bars = [*course.bars(), *house.money_bars()]
        show(f"B11: {fault}", bars, capsys)
        assert not missed(bars)


def test_postgres_is_away_for_a_minute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """B12: with a gateway killed in it."""
    budgets = [limit("all", "global", 1_000_000), limit("per-user", "user", 500_000)]
    with many_nodes(tmp_path, own_postgres=True, budgets=budgets) as house:
        first = house.node()
        key = first.create_key("known")
        first.start()
        loss = Loss(house, [first, *house.nodes(NODES - 1)], key)
        bars = loss.bars(asyncio.run(loss.suffer(rate=80, before_s=5.0, down_s=DOWN_S, after_s=10.0)))
        show("B12: PostgreSQL away for a minute", bars, capsys)
        assert not missed(bars)
