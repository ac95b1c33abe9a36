"""Two nodes serve as one gateway: one ledger, one set of keys, budgets that hold on both; each may go at any time."""

import asyncio
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.gateway_process import PENSTOCK, free_ports, wait_for
from tests.support.many_nodes import BUSY, COST, House, Load, Node, Said, limit, many_nodes
from tests.support.stopped_node import serve_out

CALLS = 50
CLIENTS = 1000

pytestmark = [pytest.mark.e2e, pytest.mark.alone]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """PostgreSQL, Redis and a provider; a budget of fifty calls."""
    with many_nodes(tmp_path, budgets=[limit("all", "global", CALLS)]) as made:
        yield made


def exit_of(node: Node) -> tuple[int, str]:
    """Of a server that does not start: its exit code, and what it says."""
    command = [PENSTOCK, "serve", "-c", str(node.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stderr


def test_a_budget_holds_on_both(house: House) -> None:
    """A thousand ask at two nodes, of which each has spent: fifty are served, and every command tells of fifty."""
    one, two = nodes = house.nodes(2)

    async def all_of_them() -> list[Said]:
        of_each = [*await house.ask_until_told(1, [one]), *await house.ask_until_told(1, [two])]
        return [*of_each, *await house.ask_until_told(CLIENTS - len(nodes), nodes)]

    said = asyncio.run(all_of_them())
    told = Counter(each.told.status for each in said if each.told.status != BUSY)
    assert told == {200: CALLS, 429: CLIENTS - CALLS}
    assert {each.node for each in said if each.told.status == 200} == {0, 1}
    house.settles(5)
    assert (house.check().exact, house.check().exchanges) == (CALLS, len(said))
    for node in (one, two):
        (shown,) = node.json("budgets", "show")["rows"]
        assert Decimal(shown["used"]) * 10**9 == CALLS * COST
        assert Decimal(shown["remaining"]) == 0
        assert Decimal(node.spend("model")[1]["cost"]) * 10**9 == CALLS * COST


def test_a_budget_that_is_raised_on_one_is_raised_on_both(house: House) -> None:
    """Set by a command beside them: what was refused on either is served."""
    one, two = nodes = house.nodes(2)
    assert Counter(each.told.status for each in asyncio.run(house.ask_all(100, nodes)))[200] == CALLS
    one.command("budgets", "set", "all", "--limit", f"{2 * CALLS * COST / 1e9:.9f} CNY")
    wait_for(lambda: asyncio.run(house.ask(two)).told.status == 200, "the other node to hear of it", 5)
    served = [*asyncio.run(house.ask_all(200, nodes)), *asyncio.run(serve_out(house, nodes))]
    assert Counter(each.told.status for each in served)[200] == CALLS - 1
    house.settles(5)


def test_a_key_made_on_one_works_on_the_other(house: House) -> None:
    """Within a second or so, and no longer than that once it is revoked; a stranger's never."""
    one, two = house.nodes(2)
    key = one.create_key("k")
    wait_for(lambda: asyncio.run(house.ask(two, key="sk-stranger")).told.status == 401, "open mode to end", 5)
    assert asyncio.run(house.ask(two, key=key)).told.status == 200
    two.command("keys", "revoke", "k")
    wait_for(lambda: asyncio.run(house.ask(one, key=key)).told.status == 401, "the key to be gone", 5)


def test_a_node_that_ends_loses_nothing(tmp_path: Path) -> None:
    """SIGTERM under load: what it has begun it finishes, and what it was lent and did not spend others spend."""
    with many_nodes(tmp_path, budgets=[limit("all", "global", 300)]) as house:
        one, two = nodes = house.nodes(2)

        async def until_one_ends() -> list[int]:
            async with Load(house, nodes, rate=80, questions=lambda _number: {"gap_ms": 50}) as load:
                await asyncio.sleep(1.0)
                one.signal(signal.SIGTERM)
                await asyncio.to_thread(one.wait)
            return [each.told.status for each in load.said if not each.told.complete and each.told.status]

        assert asyncio.run(until_one_ends()) == [], "an answer that had begun was cut"
        while any(each.told.status == 200 for each in asyncio.run(house.ask_all(40, [two]))):
            """Until all is spent."""
        house.settles(5)
        assert house.check().charged_nano == 300 * COST
        house.stop()
        assert [each.taken for each in house.counted().values()] == [300 * COST], "something is still lent"


def test_a_restart_of_one_under_load(tmp_path: Path) -> None:
    """SIGUSR2: the successor has a lease of its own; nobody is refused, and nothing is there twice."""
    with many_nodes(tmp_path, budgets=[limit("all", "global", 5_000)]) as house:
        one, _ = nodes = house.nodes(2, words=False)

        async def through_a_restart() -> Counter[int]:
            async with Load(house, nodes, rate=40) as load:
                await asyncio.sleep(0.5)
                await asyncio.to_thread(one.succeed)
                await asyncio.sleep(0.5)
            return Counter(each.told.status for each in load.said)

        assert asyncio.run(through_a_restart()).keys() == {200}
        house.settles(5)
        house.check()


def test_without_redis_a_node_does_not_start(house: House) -> None:
    """It says what it cannot reach, in a line, and ends with 1."""
    node = house.node(words=False, shared={"url": f"redis://127.0.0.1:{free_ports()[0]}/0"})
    node.create_key("k")
    code, said = exit_of(node)
    assert code == 1
    assert "Traceback" not in said
    assert "shared: Redis cannot be used" in said


def test_without_postgresql_a_node_does_not_start(house: House) -> None:
    """Likewise."""
    node = house.node(words=False, store=f"postgresql://penstock@127.0.0.1:{free_ports()[0]}/x")
    code, said = exit_of(node)
    assert code == 1
    assert "Traceback" not in said
    assert "postgresql://penstock@127.0.0.1" in said


def test_a_second_server_without_shared_is_refused(tmp_path: Path) -> None:
    """Each would hold the budgets for itself: it is told of `shared`; a restart of the first goes on as ever."""
    with many_nodes(tmp_path, budgets=[limit("all", "global", 100)]) as house:
        one, two = house.node(words=False, shared=None), house.node(words=False, shared=None)
        one.start()
        code, said = exit_of(two)
        assert (code, "shared" in said, "Traceback" in said) == (1, True, False), said
        together = house.node(words=False)
        code, said = exit_of(together)
        assert (code, "shared" in said, "Traceback" in said) == (1, True, False), said
        assert asyncio.run(house.ask(one)).told.status == 200
        one.succeed()
        assert exit_of(two)[0] == 1
        assert asyncio.run(house.ask(one)).told.status == 200
        one.stop()
        two.start()
        assert asyncio.run(house.ask(two)).told.status == 200
