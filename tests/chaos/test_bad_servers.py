"""Servers that are full, cut off from one node, or of another time: nothing is overspent, lost or told twice."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.gateway_with_clock import skewed_node
from tests.support.many_nodes import COST, House, Load, Node, Said, limit, many_nodes, percentile
from tests.support.small_disk import small_disk
from tests.support.stopped_node import serve_out

pytestmark = pytest.mark.alone

CALLS = 240
RATE = 60.0
SKEW_S = 30.0
HOUR_S = 3600.0
AT_ONCE_S = 0.5
"""100 ms, on a machine that others load."""
LOOK_S = 0.05
MOST = 0.8
"""A call to Redis has 50 ms, and who asks here shares two cores with all of it."""


def statuses(said: list[Said], node: int | None = None) -> Counter[int]:
    """How often each was told, by one node or all."""
    return Counter(each.told.status for each in said if node in {None, each.node})


async def troubled(
    house: House, nodes: list[Node], begin: Callable[[], object], end: Callable[[], object], lasts_s: float
) -> list[list[Said]]:
    """Under load: before, meanwhile, afterwards."""
    parts = []
    for change, lasts in ((lambda: None, 1.0), (begin, lasts_s), (end, 1.5)):
        change()
        async with Load(house, nodes, rate=RATE) as load:
            await asyncio.sleep(lasts)
        parts.append(load.said)
    return parts


def test_clocks_that_are_half_a_minute_off(tmp_path: Path) -> None:
    """Nodes disagree by a minute, over the turn of an hour: each hour is spent, and not a call more."""
    budgets = [limit("all", "global", CALLS), limit("hourly", "global", CALLS / 4, window="hour", timezone="UTC")]
    with many_nodes(tmp_path, budgets=budgets, budget_wait="3s") as house:
        to_the_turn_s = HOUR_S - time.time() % HOUR_S
        nodes = [skewed_node(house, to_the_turn_s + by_s) for by_s in (0.0, SKEW_S, -SKEW_S)]
        for node in nodes:
            node.launch()
        for node in nodes:
            node.ready()
        said = asyncio.run(house.ask_all(CALLS, nodes))
        house.settles(10)
        for _ in range(4):  # who was told to come again, for Redis took more than 50 ms on a busy machine
            if statuses(said)[200] == CALLS / 2:
                break
            said += asyncio.run(house.ask_all(CALLS // 4, nodes))
            house.settles(10)
        assert statuses(said)[200] == CALLS / 2
        assert statuses(said).keys() <= {200, 429, 503}
        assert house.check().charged_nano == CALLS / 2 * COST
        hours = Counter(datetime.fromtimestamp(row.started_at, UTC).hour for row in house.books().attempts.values())
        assert set(hours.values()) == {CALLS // 4}
        assert house.epoch() == 1, "nobody took another for dead"


def test_a_node_that_is_cut_off_from_redis(tmp_path: Path) -> None:
    """It spends what it has and then refuses at once; the other goes on, and is lent what the first one left."""
    with many_nodes(tmp_path, budgets=[limit("all", "global", CALLS)], budget_wait="300ms") as house:
        cut, well = house.node(shared={"url": f"redis://127.0.0.1:{house.to_redis.port}/0"}), house.node()
        nodes = [cut, well]
        for node in nodes:
            node.launch()
        for node in nodes:
            node.ready()
        before, meanwhile, after = asyncio.run(
            troubled(house, nodes, lambda: house.to_redis.set(black_hole=True), house.to_redis.heal, lasts_s=3.0)
        )
        assert statuses(before)[200] >= MOST * len(before)
        assert statuses(meanwhile, node=1)[200] >= MOST * len(meanwhile) / 2
        refused = [each for each in meanwhile if each.told.status != 200]
        assert {each.told.status for each in refused} == {503}
        assert all("retry-after" in each.told.headers for each in refused)
        said = [*before, *meanwhile, *after, *asyncio.run(serve_out(house, nodes))]
        assert statuses(said, node=0)[200] > 0
        house.settles(10)
        assert house.check().charged_nano == CALLS * COST
        assert statuses(said)[200] == CALLS


def test_a_redis_that_is_full(tmp_path: Path) -> None:
    """Under noeviction it takes no writes: nobody is lent anything, nobody waits, and nothing is counted anew."""
    with many_nodes(tmp_path, budgets=[limit("all", "global", 4 * CALLS)], budget_wait="300ms") as house:
        nodes = house.nodes(2)

        def bound(size: str) -> Callable[[], object]:
            return lambda: house.redis.call("CONFIG", "SET", "maxmemory", size)

        before, meanwhile, after = asyncio.run(troubled(house, nodes, bound("1"), bound("0"), lasts_s=2.5))
        assert statuses(before)[200] >= MOST * len(before)
        assert {503} <= set(statuses(meanwhile)) <= {200, 503}
        assert percentile([each.took_s for each in meanwhile if each.told.status == 503], 0.5) < AT_ONCE_S
        assert statuses(after)[200] > len(after) / 2
        said = [*before, *meanwhile, *after, *asyncio.run(house.ask_all(10, nodes))]
        assert statuses(said[-10:])[200] >= MOST * 10
        house.settles(10)
        assert house.check().charged_nano == statuses(said)[200] * COST


def test_a_postgresql_whose_disk_is_full(tmp_path: Path) -> None:
    """It takes no rows: they wait with the nodes, all are served, and when there is room each row is there once."""
    with many_nodes(tmp_path, own_postgres=True, budgets=[limit("all", "global", 4 * CALLS)]) as house:
        server = house.postgres
        server.kill()
        with small_disk(server.directory / "data" / "base", size="128m") as disk:
            server.start()
            nodes = house.nodes(2)
            before, meanwhile, after = asyncio.run(troubled(house, nodes, disk.fill, disk.free, lasts_s=3.0))
            said = [*before, *meanwhile, *after]
            assert any("No space left" in node.stderr for node in nodes), "its disk was not full"
            assert statuses(said) == {200: len(said)}
            until = time.monotonic() + 20
            while any("spool" in path.suffix for node in nodes for path in node.directory.iterdir()):
                assert time.monotonic() < until, "rows still wait"
                time.sleep(LOOK_S)
            house.settles(10)
            assert house.check().charged_nano == len(said) * COST
            house.stop()
            server.kill()
