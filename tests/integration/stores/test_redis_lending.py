"""A node with very many accounts and a real Redis: no call is so large that it holds anybody up."""

from collections.abc import AsyncIterator, Iterator, Sequence
from zoneinfo import ZoneInfo

import msgspec
import pytest

from penstock.background.lending import MOST, PIECE, Lending
from penstock.clock import SystemClock, SystemRng
from penstock.core.budget import Budget, Place
from penstock.pipeline.treasury import Treasury
from penstock.stores.memory_ledger import MemoryLedger
from penstock.stores.redis_connection import Reply, Word
from penstock.stores.redis_link import RedisLink
from penstock.stores.redis_rooms import AT_ONCE, RedisRooms
from penstock.stores.redis_url import read_redis_url
from penstock.stores.scripts import Script
from tests.support.lending_nodes import Rows, Watched
from tests.support.redis_server import RedisServer, redis_server

MANY = 50_000
PREFIX = "{penstock:money}:1:"
EACH = Budget("each", "user", "tokens", 10_000, "day", ZoneInfo("UTC"))
FILL = """
for number = 0, tonumber(ARGV[2]) - 1 do
  local name = string.gsub(ARGV[3], 'NUMBER', string.format('%d', number))
  redis.call('HSET', ARGV[1] .. 'a:' .. name, 'base', '0', 'l:1', '100', 'p:1', '0')
  redis.call('SADD', ARGV[1] .. 'of:1', name)
  redis.call('ZADD', ARGV[1] .. 'accounts', '+inf', name)
end
"""


class Measured(RedisLink):
    """Notes how much each script was given."""

    most_keys = most_words = 0

    async def run(
        self, script: Script, keys: Sequence[bytes], words: Sequence[Word], *, deadline_s: float | None = None
    ) -> Reply:
        """Run a script."""
        self.most_keys, self.most_words = max(self.most_keys, len(keys)), max(self.most_words, len(words))
        return await super().run(script, keys, words, deadline_s=deadline_s)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One that runs."""
    with redis_server() as started:
        yield started


@pytest.fixture
async def link(server: RedisServer) -> AsyncIterator[Measured]:
    """To it; what is tested is no deadline, for the machine may be busy."""
    link = Measured(read_redis_url(server.url), SystemClock(), SystemRng(1), deadline_s=5.0)
    await link.open()
    yield link
    await link.close()


async def test_fifty_thousand_accounts_are_spoken_of_piece_by_piece(server: RedisServer, link: Measured) -> None:
    """Of each ten of a hundred is spent: a beat tells some of it; when the lease ends, all is counted."""
    clock = SystemClock()
    lending = Lending(
        rooms=RedisRooms(link),
        leases=Rows(clock.now),
        clock=clock,
        node="a",
        fence=Watched(),
        on_overspent=lambda _name: None,
    )
    books = Treasury(clock, MemoryLedger(), "CNY", lambda _name: None, lending)
    await lending.start(books)
    await books.adopt([EACH])
    start = EACH.span(clock.now()).start
    name = msgspec.json.encode(Place(EACH.id, "NUMBER", start)).decode()
    server.call("EVAL", FILL, 0, PREFIX, MANY, name)
    for number in range(MANY):
        books.bank.post(Place(EACH.id, str(number), start), 10)

    for _ in range(3):
        await lending.beat()
    names = [name.replace("NUMBER", str(number)) for number in (0, 3 * MOST - 1, 3 * MOST)]
    assert [server.call("HGET", f"{PREFIX}a:{each}", "p:1") for each in names] == ["10", "10", "0"]  # they take turns
    parts = {lending.standing(Place(EACH.id, str(number), start)).part for number in range(3 * MOST)}
    assert parts == {100}

    await lending.close()
    assert server.call("EXISTS", f"{PREFIX}of:1") == 0
    assert [server.call("HGETALL", f"{PREFIX}a:{each}") for each in names] == [["base", "0"]] * 3
    assert link.most_keys <= PIECE + 10
    assert link.most_words <= max(2 * AT_ONCE, 4 * PIECE) + 10
