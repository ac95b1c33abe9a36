"""Rates of keys between nodes: in no minute more than the limit, whoever asks; what is not used is free again."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from penstock.clock import SystemClock, SystemRng
from penstock.ports.lending import RateWant
from penstock.stores.redis_link import RedisLink
from penstock.stores.redis_rates import COUNTED_S, RedisRates
from penstock.stores.redis_url import read_redis_url
from tests.support.redis_server import RedisCluster, RedisServer, redis_cluster, redis_server

BOTH = [redis_server, redis_cluster]


@pytest.fixture(scope="module", params=BOTH)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer | RedisCluster]:
    """Alone, and a cluster."""
    with request.param() as started:
        yield started


@pytest.fixture
async def link(server: RedisServer | RedisCluster) -> AsyncIterator[RedisLink]:
    """To it, emptied."""
    for each in server.servers if isinstance(server, RedisCluster) else [server]:
        each.call("FLUSHALL")
    link = RedisLink(read_redis_url(server.url), SystemClock(), SystemRng(1), deadline_s=2.0)
    await link.open()
    yield link
    await link.close()


async def test_a_minute_is_lent_once(link: RedisLink) -> None:
    """However many ask at once: to the last one, and with the seconds to wait for more."""
    rates = RedisRates(link)
    parts = await asyncio.gather(
        *(rates.take("k", f"n{number % 4}", [RateWant("requests", 100, 7, 1)]) for number in range(80))
    )
    assert sum(part.lent for (part,) in parts) == 100
    waits = [part.wait_s for (part,) in parts if not part.lent]
    assert waits
    assert all(COUNTED_S - 2 < wait_s <= COUNTED_S for wait_s in waits)


async def test_all_or_none(link: RedisLink) -> None:
    """Where the tokens do not fit, no request is counted; more than the whole limit is taken as the limit."""
    rates = RedisRates(link)
    wants = [RateWant("requests", 10, 1, 1), RateWant("tokens", 1000, 5000, 5000), RateWant("concurrency", 1, 1, 1)]
    assert [part.lent for part in await rates.take("k", "a", wants)] == [1, 1000, 1]
    refused = await rates.take("k", "b", wants)
    assert [part.lent for part in refused] == [0, 0, 0]
    assert [part.wait_s > 0 for part in refused] == [False, True, True]
    await rates.give_back("k", "a", {"tokens": 1000, "concurrency": 1, "requests": 0})
    assert [part.lent for part in await rates.take("k", "b", wants)] == [1, 1000, 1]


async def test_what_was_used_beyond_is_counted(link: RedisLink) -> None:
    """And what is given back is free at once."""
    rates = RedisRates(link)
    await rates.take("k", "a", [RateWant("tokens", 100, 60, 60)])
    await rates.give_back("k", "a", {"tokens": -30})
    assert (await rates.take("k", "a", [RateWant("tokens", 100, 11, 11)]))[0].lent == 0
    await rates.give_back("k", "a", {"tokens": 50})
    assert (await rates.take("k", "a", [RateWant("tokens", 100, 60, 60)]))[0].lent == 60


async def test_what_is_over_is_free(link: RedisLink) -> None:
    """A minute later; and of a node that is silent its part of the concurrency."""
    rates, now = RedisRates(link), SystemClock().now()
    minute, places = b"penstock:{rate:k}:requests", b"penstock:{rate:k}:concurrency"
    await link.call(minute, "HSET", minute, int(now - COUNTED_S), 100, int(now - COUNTED_S) + 3, 40)
    now_ms = round(now * 1000)
    await link.call(places, "HSET", places, "dead", f"5 {now_ms - 1}", "alive", f"4 {now_ms + 4000}")
    wants = [RateWant("requests", 100, 60, 60), RateWant("concurrency", 5, 1, 1)]
    assert [part.lent for part in await rates.take("k", "a", wants)] == [60, 1]
    assert [part.lent for part in await rates.take("k", "a", wants)] == [0, 0]
    (more,) = await rates.take("k", "a", [RateWant("requests", 100, 40, 40)])
    assert 0 < more.wait_s <= 3
