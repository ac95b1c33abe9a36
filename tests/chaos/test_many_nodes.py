"""B03, B11: many nodes spend from the same budgets, whatever stops, is emptied or cannot be reached. Scaled down."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.support.bars import missed, show
from tests.support.many_nodes import COST, limit, many_nodes, money
from tests.support.redis_trouble import FAULTS, trouble
from tests.support.stopped_node import serve_out, stop_one

pytestmark = pytest.mark.alone

CALLS = 400
WAITS_S = 3.0
"""Less than ``budget_wait``."""
RATE = 90.0


def test_a_node_that_was_stopped_overspends_nothing(tmp_path: Path) -> None:
    """Its lease ends, others spend what it was lent, and when it goes on it finds out: not a call too many."""
    budgets = [limit("all", "global", CALLS), limit("per-user", "user", CALLS, entries={"user-0": money(40)})]
    with many_nodes(tmp_path, budgets=budgets) as house:
        nodes = house.nodes(3)
        course = asyncio.run(stop_one(house, nodes, rate=RATE, before_s=1.5, stopped_s=6.5, after_s=1.5))
        said = [*course, *asyncio.run(serve_out(house, nodes))]
        house.settles(10)
        figures = house.check()
        assert (figures.exact, figures.charged_nano) == (CALLS, CALLS * COST)
        assert sum(each.told.status == 200 for each in said) == CALLS
        assert {each.told.status for each in said} == {200, 429}
        assert house.epoch() == 1, "nobody lost anything, so nothing was counted anew"


def test_nodes_that_count_at_once_leave_the_same_value(tmp_path: Path) -> None:
    """Redis is emptied under load, again and again: afterwards it says what the ledger says, no more, no less."""
    with many_nodes(tmp_path, budgets=[limit("all", "global", CALLS), limit("per-user", "user", CALLS)]) as house:
        nodes = house.nodes(3)
        said = []
        for _ in range(4):
            said += asyncio.run(house.ask_all(30, nodes))
            house.redis.call("FLUSHALL")
            said += asyncio.run(house.ask_all(30, nodes))
            house.settles(5)
        said += asyncio.run(serve_out(house, nodes))
        house.settles(5)
        assert house.check().charged_nano == CALLS * COST
        assert sum(each.told.status == 200 for each in said) == CALLS
        assert house.epoch() == 5


def test_redis_is_of_no_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under load a key that waits gets 503 at once, others are served, nothing is overspent or forgotten."""
    with trouble(tmp_path) as house:
        bars = []
        for fault in FAULTS:
            course = asyncio.run(house.suffer(fault, rate=60, before_s=0.7, fault_s=2.7))
            bars += course.bars()
        bars += house.money_bars()
        show("B11, scaled", bars, capsys)
        assert not missed(bars, loosely=True)


def test_a_key_that_is_answered_overspends_one_slice_of_each_node(tmp_path: Path) -> None:
    """Nobody lends and three calls are left: each node gives a slice of three, says so, and no more."""
    with trouble(tmp_path, calls={"open": 300}, slice_=0.01, proxied=False) as town:
        house = town.house
        asyncio.run(town.spend("open", 297))
        town.all_know(0.99)
        house.redis.freeze()
        beyond = asyncio.run(house.ask_all(60, town.nodes, **town.ask_of("open")))
        assert max(each.took_s for each in beyond) < WAITS_S, "who is refused need not wait for it"
        house.redis.thaw()
        assert Counter(each.told.status for each in beyond) == {200: 6, 429: 54}
        assert town.slices() >= 2
        house.settles(10)
        again = asyncio.run(house.ask_all(10, town.nodes, **town.ask_of("open")))
        assert {each.told.status for each in again} == {429}


def test_who_has_spent_its_slice_is_told_to_come_again(tmp_path: Path) -> None:
    """There is plenty, and nobody lends it: a node gives one slice, and 503 after that."""
    with trouble(tmp_path, calls={"open": 300}, slice_=0.01, proxied=False) as town:
        house = town.house
        asyncio.run(town.spend("open", 20))
        house.settles(5)
        house.redis.freeze()
        beyond = asyncio.run(house.ask_all(60, town.nodes, **town.ask_of("open")))
        assert max(each.took_s for each in beyond) < WAITS_S
        house.redis.thaw()
        told = Counter(each.told.status for each in beyond)
        assert told.keys() == {200, 503}
        assert 2 * 3 <= told[200] <= 2 * 2 * 3, "a slice, and what was lent before"
        assert all("retry-after" in each.told.headers for each in beyond if each.told.status == 503)
