"""What nodes tell each other: heard at once, counted for who missed it; purges are heard by all, and whose they are."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.ports.answers import Purge
from tests.contract.stores.postgres_nodes import Node, node
from tests.support.postgres_server import database_of


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    """Two of them."""
    url = database_of(tmp_path)
    async with node(url, tmp_path / "a") as one, node(url, tmp_path / "b") as other:
        yield one, other


async def test_what_one_tells_all_hear_and_can_count(nodes: tuple[Node, Node]) -> None:
    """The teller too; a topic that nobody told yet counts nothing."""
    heard: list[asyncio.Queue[str]] = []
    for each in nodes:
        assert each.stores.signals is not None
        heard.append(asyncio.Queue())
        each.stores.signals.listen(heard[-1].put_nowait)
    one, other = (each.stores.signals for each in nodes)
    assert one is not None
    assert other is not None
    assert await other.told("config") == 0
    assert [await one.tell("config"), await other.tell("config")] == [1, 2]
    assert [await queue.get() for queue in heard] == ["config", "config"]
    assert await one.told("config") == await other.told("config") == 2


async def test_a_purge_is_heard_once_by_each(nodes: tuple[Node, Node]) -> None:
    """By who purged as its own, by others as another's; who looks twice at once hears it once."""
    one, other = (each.stores for each in nodes)
    assert one.refresh is not None
    assert other.refresh is not None
    await one.answers.purge(model="m", deployments=["p/"])
    purge = Purge("m", None, None, ("p/",))
    assert await one.refresh() == [purge._replace(ours=True)]
    first, second = await asyncio.gather(other.refresh(), other.refresh())
    assert [*first, *second] == [purge]
    assert await other.refresh() == []
