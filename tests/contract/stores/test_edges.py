"""What every store keeps for edges: purges in their order, by marks that prove themselves; answers of tenants."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core.usage import Usage
from penstock.errors import BadRequest
from penstock.ports.answers import Changed, StoredAnswer
from penstock.ports.stores import Stores
from penstock.stores.purges import KEPT_PURGES, mark, read_mark
from tests.contract.stores.conftest import Reopen

NOW = 4_000_000_000.0
ANSWER = StoredAnswer(
    body=b'{"choices": []}', stored_at=NOW, expires_at=NOW + 3600, attempt_id="at_1", model="m", tenant="key_1/web",
    tags=("env=prod",), deployment="up/m", usage=Usage(1, 2, 3, 4, 5), estimated=False, entry="ab/m",
)  # fmt: skip
WANTED = Changed(edge="key_1", after="", until=NOW + 1000, now=NOW, limit=100, max_bytes=1000)


def key(number: int) -> bytes:
    """A canonical key."""
    return number.to_bytes(32, "big")


async def purge(stores: Stores, *models: str) -> None:
    """One after the other."""
    for model in models:
        await stores.answers.purge(model=model)


async def test_purges_are_told_once_in_their_order(stores: Stores) -> None:
    """From the beginning or from a mark on, a page at a time; what was asked for is what was purged."""
    await purge(stores, "a", "b")
    await stores.answers.purge(tenant="key_1", tag="env=prod")
    first = await stores.answers.purges("", 2)
    assert ([purged.model for purged in first.purges], first.known) == (["a", "b"], True)
    rest = await stores.answers.purges(first.mark, 2)
    assert [(each.model, each.tenant, each.tag) for each in rest.purges] == [(None, "key_1", "env=prod")]
    assert await stores.answers.purges(rest.mark, 2) == ((), rest.mark, True)


async def test_a_mark_of_another_list_is_not_known(stores: Stores) -> None:
    """Nobody knows what was purged since then; the new mark is the end of this list."""
    await purge(stores, "a", "b")
    here = (await stores.answers.purges("", 9)).mark
    for foreign in (mark(2, 17.5), mark(99, 17.5)):
        assert await stores.answers.purges(foreign, 9) == ((), here, False)


async def test_the_list_is_bounded_and_says_so(reopen: Reopen) -> None:
    """The oldest go; who has not heard of them is told to begin anew."""
    stores = await reopen()
    await purge(stores, "a")
    early = (await stores.answers.purges("", 1)).mark
    with closing(sqlite3.connect(reopen.path)) as connection, connection:
        connection.execute("INSERT INTO purges (id, at, model) VALUES (?, 7.0, 'late')", (KEPT_PURGES,))
    await purge(stores, "b")
    assert not (await stores.answers.purges(early, 9)).known
    assert not (await stores.answers.purges("", 9)).known
    assert [each.model for each in (await stores.answers.purges(mark(KEPT_PURGES, 7.0), 9)).purges] == ["b"]


@given(st.integers(0, 1 << 62), st.floats(0, 1e11))
def test_a_mark_is_read_as_it_was_written(id_: int, at: float) -> None:
    """To the last bit of its time."""
    assert read_mark(mark(id_, at)) == (id_, at)


async def test_a_mark_that_is_none_is_refused(stores: Stores) -> None:
    """It comes from outside."""
    for bad in ("x", "-1@2", "1", "1@nan", "1@-4", "9" * 30 + "@1", "1@1@1"):
        with pytest.raises(BadRequest):
            await stores.answers.purges(bad, 9)


async def test_a_purge_of_an_edge_is_one_of_its_tenants(stores: Stores) -> None:
    """And of nobody whose id only begins alike."""
    for number, tenant in enumerate(("key_1", "key_1/web", "key_1/app", "key_11", "key_11/web")):
        stores.answers.put(key(number), replace(ANSWER, tenant=tenant))
    assert await stores.answers.purge(tenant="key_1") == 3
    assert await stores.answers.purge(tenant="key_11/web") == 1


async def test_a_purge_by_deployment(stores: Stores) -> None:
    """One of them, or all of a provider; with other bounds, both."""
    for number, deployment in enumerate(("up/m", "up/m2", "upper/m", "up/m")):
        stores.answers.put(key(number), replace(ANSWER, deployment=deployment, tags=(f"n={number}",)))
    assert await stores.answers.purge(deployments=["up/m"], tag="n=3") == 1
    assert await stores.answers.purge(deployments=["up/m", "nowhere/m"]) == 1
    assert await stores.answers.purge(deployments=["up/"]) == 1
    assert stores.answers.stats()[0] == 1


async def test_purges_and_marks_outlive_the_process(reopen: Reopen) -> None:
    """A mark from before the restart is one after it."""
    stores = await reopen()
    await purge(stores, "a")
    before = (await stores.answers.purges("", 9)).mark
    stores = await reopen()
    await purge(stores, "b")
    found = await stores.answers.purges(before, 9)
    assert ([each.model for each in found.purges], found.known) == (["b"], True)


# --- what changed: from disk alone


async def keep(stores: Stores, *answers: StoredAnswer) -> None:
    """Each under a key of its own, and durable."""
    for number, answer in enumerate(answers):
        stores.answers.put(key(number), answer)
    await stores.answers.withdraw()
    stores.answers.resume()


async def test_an_edge_is_handed_its_tenants_answers_and_no_others(reopen: Reopen) -> None:
    """Not those of the edge's own name, of another edge, of a key, or that no edge asked for; each whole."""
    stores = await reopen()
    tenants = ("key_1/web", "key_1/app", "key_1", "key_11/web", "key_10", "key_2/web", "all")
    answers = [replace(ANSWER, tenant=tenant, stored_at=NOW + n) for n, tenant in enumerate(tenants)]
    await keep(stores, *answers, replace(ANSWER, entry=""))
    assert [answer for _, answer in await stores.answers.changed(WANTED)] == answers[:2]


async def test_answers_come_in_pages_without_gap_or_repeat(reopen: Reopen) -> None:
    """By time, bounded in number and in bytes; none that is too young, has expired or is too large."""
    stores = await reopen()
    good = [replace(ANSWER, stored_at=NOW + n // 2, body=b"{%d}" % n) for n in range(7)]
    young, old = replace(ANSWER, stored_at=NOW + 2000), replace(ANSWER, expires_at=NOW)
    await keep(stores, *good, young, old, replace(ANSWER, body=b"x" * 2000))
    found: list[StoredAnswer] = []
    wanted = WANTED._replace(limit=3)
    while page := await stores.answers.changed(wanted):
        assert len(page) <= 3
        found += [answer for _, answer in page]
        wanted = wanted._replace(after=page[-1][0])
    assert found == good
    assert len(await stores.answers.changed(WANTED._replace(max_bytes=8))) == 2


async def test_what_was_purged_is_handed_to_nobody(reopen: Reopen) -> None:
    """From the moment that the purge is done."""
    stores = await reopen()
    await keep(stores, ANSWER)
    await stores.answers.purge(tag="env=prod")
    assert not await stores.answers.changed(WANTED)
