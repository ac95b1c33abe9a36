"""Several nodes on one PostgreSQL: answers, results, purges and changes are everybody's; one of them leads."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from penstock.clock import SystemClock
from penstock.core.usage import Usage
from penstock.ports.answers import StoredAnswer
from penstock.ports.budgets import BudgetRecord
from penstock.ports.keys import KeyRecord
from penstock.ports.results import StoredResult
from penstock.stores.postgres import Postgres
from penstock.stores.postgres_partitions import Partitions
from penstock.stores.postgres_session import EVERYTHING
from tests.contract.stores.postgres_nodes import Node, node
from tests.support.postgres_server import database_of, shared_server

NOW = 4_000_000_000.0
ANSWER = StoredAnswer(
    body=b'{"choices": []}', stored_at=NOW, expires_at=NOW + 60, attempt_id="at_1", model="flash", tenant="key_1/web",
    tags=("env=prod",), deployment="deepseek/flash", usage=Usage(1, 2, 3, 4, 5), estimated=True, entry="ab",
)  # fmt: skip
RESULT = StoredResult(
    body_digest=b"d", status=200, headers={"a": "b"}, body=b"data", exchange_id="ex_1", expires_at=NOW + 60
)


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    """Two of them."""
    url = database_of(tmp_path)
    async with node(url, tmp_path / "a") as one, node(url, tmp_path / "b") as other:
        yield one, other


def key(number: int) -> bytes:
    """A canonical key."""
    return number.to_bytes(32, "big")


async def stored(made: Node, *answers: StoredAnswer) -> None:
    """Each under a key of its own, and behind."""
    for number, answer in enumerate(answers):
        made.stores.answers.put(key(number), answer)
    await made.stores.answers.withdraw()
    made.stores.answers.resume()


async def test_of_answers_under_one_key_the_last_counts(nodes: tuple[Node, Node]) -> None:
    """However many are written together, each making another's row one to be deleted; text and bytes as they were."""
    one, other = nodes
    odd = replace(ANSWER, tenant='key_1/"\\u0000 \u00e9\U0001f600', tags=("a=\\", "b='{}'"), stored_at=0.1 + 0.2)
    for number in range(300):
        one.stores.answers.put(key(number % 100), replace(odd, body=bytes(range(256)) + b"%d" % number))
    await one.stores.answers.withdraw()
    for number in range(100):
        wanted = replace(odd, body=bytes(range(256)) + b"%d" % (200 + number))
        assert await other.stores.answers.get(key(number), NOW) == wanted


async def test_an_answer_of_one_node_is_found_by_another(nodes: tuple[Node, Node]) -> None:
    """Every field of it; then it is in that one's memory, and the first may forget it."""
    one, other = nodes
    await stored(one, ANSWER)
    assert await other.stores.answers.get(key(0), NOW) == ANSWER
    assert await other.stores.answers.get(key(1), NOW) is None
    assert await other.stores.answers.get(key(0), NOW + 60) is None
    assert other.stores.answers.stats()[0] == 1
    await other.stores.sweep(NOW + 60)
    assert await one.stores.answers.get(key(0), NOW) == ANSWER


async def test_what_a_node_forgets_for_room_is_not_taken_from_who_stored_it_later(nodes: tuple[Node, Node]) -> None:
    """Rows have an owner: who wrote last."""
    one, other = nodes
    newer = replace(ANSWER, body=b"newer")
    await stored(one, ANSWER)
    await stored(other, newer)
    one.stores.answers.put(key(9), replace(ANSWER, body=b"x" * ((1 << 20) - 1300)))
    await one.stores.answers.withdraw()
    one.stores.answers.resume()
    assert await one.stores.answers.get(key(0), NOW) == newer


@pytest.mark.parametrize(
    "what",
    [{}, {"model": "flash"}, {"tenant": "key_1"}, {"tag": "env=prod"}, {"deployments": ["deepseek/"]}],
)
async def test_a_purge_reaches_every_node(nodes: tuple[Node, Node], what: dict[str, object]) -> None:
    """At once behind, and in their memory when they hear of it; what does not match stays."""
    one, other = nodes
    untouched = replace(ANSWER, model="pro", tenant="key_11", tags=("env=prod2",), deployment="own/m")
    await stored(one, ANSWER, untouched)
    assert await other.stores.answers.get(key(0), NOW) == ANSWER
    assert await other.stores.answers.get(key(1), NOW) == untouched
    signals, told = other.stores.signals, asyncio.Event()
    assert signals is not None
    signals.listen(lambda topic: told.set() if topic == "purges" else None)
    assert await one.stores.answers.purge(**what) == (1 if what else 2)  # type: ignore[arg-type]  # as parametrized
    await told.wait()
    assert other.stores.refresh is not None
    await other.stores.refresh()
    assert await other.stores.answers.get(key(0), NOW) is None
    assert await other.stores.answers.get(key(1), NOW) == (untouched if what else None)


async def test_who_asked_before_a_purge_stores_nothing_after_hearing_of_it(nodes: tuple[Node, Node]) -> None:
    """By its own clock: those of the others may be wrong by half a minute."""
    one, other = nodes
    asked_at = SystemClock().now()
    await one.stores.answers.purge()
    assert other.stores.refresh is not None
    await other.stores.refresh()
    other.stores.answers.put(key(0), ANSWER, asked_at)
    assert await other.stores.answers.get(key(0), NOW) is None


async def test_a_result_of_one_node_is_found_by_another(nodes: tuple[Node, Node]) -> None:
    """A repeat may come anywhere."""
    one, other = nodes
    one.stores.results.put("key_1", "abc", RESULT)
    await stored(one)
    assert await other.stores.results.get("key_1", "abc", NOW) == RESULT
    assert await other.stores.results.get("key_1", "abc", NOW + 60) is None


async def test_a_change_of_keys_and_budgets_is_told(nodes: tuple[Node, Node]) -> None:
    """With its topic; and all of it when the session was lost meanwhile."""
    one, other = nodes
    heard: asyncio.Queue[str] = asyncio.Queue()
    assert other.stores.signals is not None
    other.stores.signals.listen(heard.put_nowait)
    await one.stores.keys.add(KeyRecord(id="key_1", name="ci", digest="d", prefix="p", created_at=1.0))
    assert await heard.get() == "keys"
    await one.stores.budgets.put(BudgetRecord("b", {"limit": "1 CNY"}))
    assert await heard.get() == "budgets"
    shared_server().run(lambda connection: connection.execute(END_LISTENERS))
    assert await heard.get() == EVERYTHING
    await one.stores.keys.revoke("ci", 2.0)
    assert await heard.get() == "keys"


END_LISTENERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"


async def test_one_node_leads_until_its_session_ends(nodes: tuple[Node, Node]) -> None:
    """Then another does; who led finds out when it asks again."""
    one, other = nodes
    first, second = one.stores.leader, other.stores.leader
    assert first is not None
    assert second is not None
    for _ in range(2):
        assert await first.lead()
        assert not await second.lead()
    shared_server().run(lambda connection: connection.execute(END_LEADERS))
    assert await second.lead()
    assert not await first.lead()


END_LEADERS = """
SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE locktype = 'advisory' AND objid = 3 AND mode = 'ExclusiveLock' AND granted
"""


async def test_a_month_is_made_beside_who_reads_the_tables_in_another_order(tmp_path: Path) -> None:
    """Nobody waits for the other: a sum has the attempts and wants the exchanges, a month is made in each in turn."""
    url = database_of(tmp_path)
    maker, reader, watch = (Postgres(url, size=1) for _ in range(3))
    reading, watching = await reader.connect(), await watch.connect()
    async with reading.transaction():
        await reading.fetchval("SELECT count(*) FROM attempts")
        making = asyncio.ensure_future(maker.run(lambda connection: Partitions().make_ahead(connection, 9e9)))
        while not await watching.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await watching.execute("SELECT pg_sleep(0.01)")
        assert await asyncio.wait_for(reading.fetchval("SELECT count(*) FROM exchanges"), 0.5) == 0
    await making
    months = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'shares'::regclass"
    assert await watching.fetchval(months) == 4
    for connection in (reading, watching):
        await connection.close()
    await maker.close()


async def test_the_last_end_is_of_what_was_stored_before(nodes: tuple[Node, Node]) -> None:
    """Whoever stored it, in whatever order; of nothing it is 0."""
    one, other = nodes
    last_end = other.stores.last_end
    assert last_end is not None
    assert await last_end(1e12) == 0
    made = [(30, 60), (20, 90), (10, 70), (0, 3600)]
    await stored(one, *(replace(ANSWER, stored_at=NOW - age_s, expires_at=NOW + lasts_s) for age_s, lasts_s in made))
    ends = [await last_end(NOW - age_s) for age_s in (40, 25, 5, -1)]
    assert ends == [0, NOW + 60, NOW + 90, NOW + 3600]
