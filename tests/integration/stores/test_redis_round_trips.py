"""How often a request waits for Redis: counted by what is written to its socket, over a real server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.background.lending import Lending
from penstock.clock import SystemClock, SystemRng
from penstock.compose import World, _gateway
from penstock.gateway.gateway import Gateway
from penstock.observe.metrics import Metrics
from penstock.ports.answers import StoredAnswer
from penstock.ports.lending import RateWant
from penstock.ports.shared import Shared
from penstock.providers.scripted import Scripted
from penstock.server.replies import row_of
from penstock.stores.open import open_stores
from penstock.stores.redis_flights import RedisCrossing
from penstock.stores.redis_rates import RedisRates
from penstock.stores.redis_rooms import RedisRooms
from penstock.stores.scripts import load_script
from tests.support.house import House, KeptLedger, book, chat, settings_of
from tests.support.lending_nodes import Rows, Watched
from tests.support.redis_server import LOOPBACK, RedisServer, redis_server
from tests.support.shared_nodes import Node, an_answer, node_at

AT_ONCE = 16
ASKED = {name: load_script(name).sha.encode() for name in ("ask", "rates", "lend", "tell")}
LIMITS = {"rpm": 100, "tpm": 1_000_000, "concurrency": 5}
BUDGET = {"name": "each", "scope": "user", "limit": "1000000 tokens", "window": "total"}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One, alone."""
    with redis_server() as started:
        yield started


class Writes:
    """What a node wrote, a piece for each time that it did."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    @property
    def of_requests(self) -> list[list[str]]:
        """Of each piece that requests are the cause of, the scripts in it."""
        named = ([name for name, sha in ASKED.items() for _ in range(piece.count(sha))] for piece in self.pieces)
        return [names for names in named if names]

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: RedisServer) -> None:
        """From a node to the server, and back."""
        there, back = await asyncio.open_connection(LOOPBACK, to.port)
        await asyncio.gather(self._pass(reader, back, self.pieces), self._pass(there, writer, []))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: list[bytes]) -> None:
        while piece := await reader.read(1 << 20):
            pieces.append(piece)
            writer.write(piece)
        writer.close()


@asynccontextmanager
async def _watched(server: RedisServer) -> AsyncIterator[tuple[Node, Writes]]:
    """A node, and what it writes. Its scripts are known to the server."""
    server.call("FLUSHALL")
    for name in ASKED:
        server.call("SCRIPT", "LOAD", load_script(name).text)
    writes = Writes()
    forwarding: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        forwarding.add(task)
        await writes.forward(reader, writer, server)

    proxy = await asyncio.start_server(accept, LOOPBACK)
    try:
        port = proxy.sockets[0].getsockname()[1]
        async with node_at(f"redis://{LOOPBACK}:{port}/0", settled_s=0.0) as node:
            writes.pieces.clear()
            yield node, writes
        await asyncio.gather(*forwarding)
    finally:
        proxy.close()


@asynccontextmanager
async def _house(node: Node, budgets: list[dict[str, Any]]) -> AsyncIterator[tuple[House, Lending]]:
    """A gateway over the node, without what it does by the clock; and who lends to it."""
    clock, settings = SystemClock(), settings_of(budgets=budgets)
    stores = await open_stores("memory:", Path(), max_answer_bytes=0, sync="normal", on_lost=print, clock=clock)
    stores.leases, stores.fence = Rows(clock.now), Watched()
    shared = Shared(RedisRooms(node.link), node.answers, RedisRates(node.link), stores.close)
    upstream = Scripted(clock)
    upstream.reply().forever()
    world = World(clock, SystemRng(1), transports={"scripted": upstream}, book=book())
    metrics = Metrics(settings)
    gateway = _gateway(settings, world, stores, shared, metrics=metrics, status_of=lambda error: row_of(error).status)
    assert gateway.nodes is not None
    lending = gateway.nodes.lending
    assert lending is not None
    try:
        await lending.start(gateway.treasury)
        await gateway.refresh_budgets(always=True)
        yield House(gateway, upstream, KeptLedger(stores.ledger)), lending
    finally:
        await gateway.close()


async def _rest(node: Node) -> None:
    """Until everything is told."""
    while node.answers.tasks:
        await asyncio.wait(node.answers.tasks)
        await asyncio.sleep(0)


async def _give_all_back(gateway: Gateway, lending: Lending) -> None:
    """As a node does of what is hardly used, within some beats."""
    for place, account in gateway.treasury.bank.accounts().items():
        while lending.standing(place).part > account.used or lending._looking is not None:  # noqa: SLF001 - what goes on behind
            await lending.beat()


async def _miss(node: Node, key: bytes) -> None:
    led = await node.answers.ask(key)
    assert isinstance(led, RedisCrossing)
    led.end(an_answer(), None, store=True)
    await _rest(node)


async def test_a_miss_is_one_round_trip_before_its_call_and_one_behind_it(server: RedisServer) -> None:
    """And a hit is one."""
    async with _watched(server) as (node, writes):
        for number in range(5):
            await _miss(node, b"%d" % number)
        assert writes.of_requests == [["ask"], ["tell"]] * 5
        writes.pieces.clear()
        assert isinstance(await node.answers.ask(b"0"), StoredAnswer)
        assert writes.of_requests == [["ask"]]


async def test_what_is_asked_in_one_turn_of_the_loop_is_one_round_trip_for_all(server: RedisServer) -> None:
    """Whatever it is: answers, and the rates of a key."""
    async with _watched(server) as (node, writes):
        rates = RedisRates(node.link)
        await asyncio.gather(
            *(node.answers.ask(b"%d" % number) for number in range(AT_ONCE)),
            rates.take("key", "node", [RateWant("requests", 9, 1, 1)]),
        )
        assert sorted(writes.of_requests[0]) == ["ask"] * AT_ONCE + ["rates"]
        assert len(writes.of_requests) == 1


@pytest.mark.parametrize(
    ("limits", "budgets", "asked"),
    [
        ({}, [], ["ask"]),
        (LIMITS, [], ["ask", "rates"]),
        ({}, [BUDGET], ["ask", "lend"]),
        (LIMITS, [BUDGET], ["ask", "rates", "lend"]),
    ],
)
async def test_a_key_that_asks_once_in_a_while_costs_no_round_trip_more(
    server: RedisServer, limits: dict[str, int], budgets: list[dict[str, Any]], asked: list[str]
) -> None:
    """Nothing is lent to it, of its rates or its budget: what it needs of them is asked for with the answer."""
    async with _watched(server) as (node, writes), _house(node, budgets) as (house, lending):
        key = await house.add_key("rare", **limits)
        for text in ("the first makes the account", "again", "and again"):
            await _give_all_back(house.gateway, lending)
            writes.pieces.clear()
            assert (await house.answer(chat(text, user="u"), key=key)).status == 200
            await _rest(node)
        assert writes.of_requests == [asked, ["tell"]]
