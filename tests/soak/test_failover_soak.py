"""Redis and PostgreSQL fail over under load, with whole nodes on them: nothing is overspent, lost or there twice."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from penstock.stores.redis_slots import slot_of
from tests.support.bars import Bar, missed, show
from tests.support.many_nodes import COST, House, Load, Node, Said, limit, many_nodes
from tests.support.postgres_replica import PostgresReplica, replica_of
from tests.support.postgres_server import USER, binaries
from tests.support.redis_replicas import promoted, replica_in
from tests.support.redis_server import RedisServer, redis_cluster
from tests.support.stopped_node import serve_out

NODES = 3
RATE = 60.0
CALLS = 1_500
HEAD = b"{penstock:money}:head"
SETTLED_S = 40.0

pytestmark = pytest.mark.soak


async def served_by_all(house: House, nodes: Sequence[Node]) -> float:
    """Seconds until each of them has answered."""
    since, left = time.monotonic(), list(nodes)
    while left and time.monotonic() - since < SETTLED_S:
        said = await house.ask(left[0])
        if said.told.status == 200:
            left.pop(0)
    return time.monotonic() - since


def statuses(said: Sequence[Said]) -> Counter[int]:
    """How often each was told."""
    return Counter(each.told.status for each in said)


def test_the_master_of_money_is_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its replica has missed what it lent last: an epoch begins there, and the budget is spent to the last call."""
    with redis_cluster() as cluster:
        money = cluster.has(slot_of(HEAD))
        sections: dict[str, Any] = {"budgets": [limit("all", "global", CALLS)], "shared": {"url": cluster.url}}
        with replica_in(cluster, money) as replica, many_nodes(tmp_path, **sections) as house:
            nodes = house.nodes(NODES)
            said, recovered_s = asyncio.run(_outlived(house, nodes, money, replica))
            house.redis = replica
            said += asyncio.run(serve_out(house, nodes))
            house.settles(SETTLED_S)
            told, figures = statuses(said), house.check()
            bars = [
                Bar(f"asked {dict(told)}", len(said), least=1),
                Bar(
                    "neither answered nor 429 nor 503",
                    sum((told - Counter({200: CALLS, 429: 10**9, 503: 10**9})).values()),
                    most=0,
                ),
                Bar("from the promotion until all nodes answer, s", recovered_s, most=5.0, loose=20.0),
                Bar("overspent, nano-units", max(0, figures.charged_nano - CALLS * COST), most=0),
                Bar("room lost, nano-units", CALLS * COST - figures.charged_nano, most=0),
                Bar("epoch", house.epoch(), least=2),
            ]
            show("Redis Cluster: the master of money is killed, its replica promoted", bars, capsys)
            assert not missed(bars, loosely=True)


async def _outlived(
    house: House, nodes: Sequence[Node], money: RedisServer, replica: RedisServer
) -> tuple[list[Said], float]:
    """What was said meanwhile; seconds from the promotion until all nodes answer."""
    async with Load(house, nodes, rate=RATE) as load:
        await asyncio.sleep(3.0)
        await asyncio.to_thread(money.call, "CLIENT", "KILL", "TYPE", "replica")
        await asyncio.sleep(0.2)
        await asyncio.to_thread(money.kill)
        await asyncio.to_thread(promoted, replica)
        recovered_s = await served_by_all(house, nodes)
        await asyncio.sleep(2.0)
    return load.said, recovered_s


def test_postgresql_is_restarted_and_then_fails_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everybody is answered throughout; afterwards the promoted replica has each row once, and budgets are kept."""
    with many_nodes(tmp_path, own_postgres=True, budgets=[limit("all", "global", 1_000_000)]) as house:
        programs = binaries()
        assert programs is not None
        with replica_of(house.postgres, programs) as replica:
            ports = (house.postgres.port, replica.port)
            hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
            nodes = house.nodes(NODES, store=f"postgresql://{USER}@{hosts}/{house.database}")
            said = asyncio.run(_failed_over(house, nodes, replica))
            house.postgres = replica
            house.settles(SETTLED_S)
            figures, made = house.check(), house.books().by_marker
            answered = [each for each in said if each.told.status == 200]
            bars = [
                Bar("asked", len(said), least=1),
                Bar(f"not answered {dict(statuses(said) - Counter({200: 10**9}))}", len(said) - len(answered), most=0),
                Bar(
                    "answered, and not in the ledger",
                    sum(not made.get(each.told.question.marker) for each in answered),
                    most=0,
                ),
                Bar("charged and not answered, nano-units", figures.charged_nano - len(answered) * COST, most=0),
                Bar("spools left", sum(1 for node in nodes for _ in node.directory.glob("*.spool")), most=0),
            ]
            show("PostgreSQL: restarted, then killed and its replica promoted", bars, capsys)
            assert not missed(bars)
            house.stop()


async def _failed_over(house: House, nodes: Sequence[Node], replica: PostgresReplica) -> list[Said]:
    """All that was said."""
    async with Load(house, nodes, rate=RATE) as load:
        await asyncio.sleep(2.0)
        await asyncio.to_thread(house.postgres.kill, signal.SIGINT)
        house.postgres.start()  # here: it ends with the thread that starts it
        await asyncio.sleep(4.0)
        await asyncio.to_thread(house.postgres.kill)
        await asyncio.sleep(2.0)
        await asyncio.to_thread(replica.promote)
        await asyncio.sleep(4.0)
    return load.said
