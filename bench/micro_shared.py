"""What Redis costs a request: CPU of this process and of the server per call, round trips, and how long a hit takes.

    python bench/micro_shared.py [--calls 5000]

Starts a redis-server of its own on loopback. ``at once`` callers share one connection. CPU is this process' own per
call; the server's is what it says of itself. The last line is an exact hit of 2 KB through Redis: the median and P99
of single calls. Noise on a shared machine is 20 % and more.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import uvloop

from penstock.core.budget import Place
from penstock.ports.answers import StoredAnswer
from penstock.ports.lending import RateWant, Return, Want
from penstock.stores.redis_answers import RedisAnswers
from penstock.stores.redis_flights import RedisCrossing
from penstock.stores.redis_rates import RedisRates
from penstock.stores.redis_rooms import RedisRooms
from tests.support.redis_server import RedisServer, redis_server
from tests.support.shared_nodes import Node, an_answer, node_at

AT_ONCE = (1, 16)
BODY_BYTES = 2048
ACCOUNTS = 3

Call = Callable[[int], Awaitable[object]]


async def _calls(node: Node) -> dict[str, Call]:
    """What is measured, by name; each is told a number of its own."""
    rooms, rates = RedisRooms(node.link, "bench"), RedisRates(node.link, "bench")
    places = [Place(f"budget {number}", "", 0.0) for number in range(ACCOUNTS)]
    await rooms.begin(1, await rooms.server())
    for lease in "abcd":
        await rooms.enter(1, lease)
    for place in places:
        await rooms.set_account(1, place, 0, dict.fromkeys("abcd", 1), 3600.0)
    answers, answer = node.answers, an_answer(b"x" * BODY_BYTES)

    async def told(number: int) -> None:
        await _lead(answers, b"miss %d" % number, answer)

    async def hit(_: int) -> None:
        if not isinstance(await answers.ask(b"hit"), StoredAnswer):
            raise TypeError("a hit is an answer")

    await _lead(answers, b"hit", answer)
    wants = [Want(place, 10**18, 1000, 1) for place in places]
    returns = [Return(place, 1000, 0) for place in places]
    await asyncio.gather(*answers.tasks)
    return {
        "ask: a hit": hit,
        "ask and tell: a miss": told,
        f"rooms: ask of {ACCOUNTS} accounts": lambda _: rooms.ask(1, "a", wants),
        f"rooms: renew with {ACCOUNTS} accounts": lambda _: rooms.renew(1, "a", returns),
        "rates: take 2": lambda n: rates.take(
            str(n), "a", [RateWant("requests", 9, 1, 1), RateWant("tokens", 9, 1, 1)]
        ),
    }


async def _lead(answers: RedisAnswers, key: bytes, answer: StoredAnswer) -> None:
    led = await answers.ask(key)
    if not isinstance(led, RedisCrossing):
        raise TypeError("a miss is led")
    led.end(answer, None, store=True)
    if len(answers.tasks) >= max(AT_ONCE):
        await asyncio.gather(*answers.tasks)


async def _all(call: Call, calls: int, at_once: int, offset: int) -> None:
    async def some(first: int) -> None:
        for number in range(first, calls, at_once):
            await call(offset + number)

    await asyncio.gather(*(some(first) for first in range(at_once)))


def _server_cpu_s(server: RedisServer) -> float:
    lines = dict(line.split(":") for line in server.call("INFO", "cpu").splitlines() if ":" in line)
    return float(lines["used_cpu_sys"]) + float(lines["used_cpu_user"])


async def _measure(server: RedisServer, calls: int) -> None:
    """Print a row for each."""
    async with node_at(server.url) as node:
        print(f"{'call':32} {'at once':>7} {'CPU us':>7} {'server us':>9} {'scripts':>7}")  # noqa: T201 - its output
        offset = 0
        for name, call in (await _calls(node)).items():
            for at_once in AT_ONCE:
                await _all(call, 100, at_once, offset := offset + calls)
                server.call("CONFIG", "RESETSTAT")
                cpu_s, theirs_s = time.process_time(), _server_cpu_s(server)
                await _all(call, calls, at_once, offset := offset + calls)
                await asyncio.gather(*node.answers.tasks)
                ours_us = (time.process_time() - cpu_s) / calls * 1e6
                theirs_us = (_server_cpu_s(server) - theirs_s) / calls * 1e6
                scripts = server.calls().get("evalsha", 0) / calls
                print(f"{name:32} {at_once:7} {ours_us:7.1f} {theirs_us:9.1f} {scripts:7.2f}")  # noqa: T201 - likewise
        waits_us = [await _timed(node) for _ in range(calls)]
        p99 = statistics.quantiles(waits_us, n=100)[98]
        print(f"a hit takes {statistics.median(waits_us):.0f} us, P99 {p99:.0f} us")  # noqa: T201 - likewise


async def _timed(node: Node) -> float:
    since = time.perf_counter()
    await node.answers.ask(b"hit")
    return (time.perf_counter() - since) * 1e6


def main(arguments: list[str]) -> None:
    """Start, measure, stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5000)
    calls = parser.parse_args(arguments).calls
    with redis_server() as server:
        uvloop.run(_measure(server, calls))


if __name__ == "__main__":
    main(sys.argv[1:])
